//! Templates: which fields the records of a set have.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Malformed;
use super::counter::{Counter, Counts};
use crate::bytes::Bytes;

/// Templates of one domain that are remembered.
const MAX_TEMPLATES: usize = 256;
/// Fields of one template.
const MAX_FIELDS: usize = 256;
/// Length that says: the record does.
pub const VARIABLE: u16 = 0xffff;
/// Enterprise whose elements are those of the way back (RFC 5103).
const REVERSE: u32 = 29_305;

/// Owner of the elements that a field's number is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// IANA's, of the flow's direction.
    Forward,
    /// IANA's, of the way back.
    Reverse,
    /// Someone else's.
    Other,
}

/// One field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub element: u16,
    pub of: Of,
    pub length: u16,
}

/// A template, or one of options.
#[derive(Debug)]
pub struct Template {
    pub is_options: bool,
    pub fields: Vec<Field>,
}

impl Template {
    /// Bytes that a record takes at least; never 0.
    pub fn least_bytes(&self) -> usize {
        let of = |field: &Field| match field.length {
            VARIABLE => 1,
            fixed => usize::from(fixed),
        };
        self.fields.iter().map(of).sum::<usize>().max(1)
    }
}

/// The templates of a domain by their numbers.
#[derive(Debug, Default)]
pub struct Templates(BTreeMap<u16, Arc<Template>>);

impl Templates {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn get(&self, id: u16) -> Option<Arc<Template>> {
        self.0.get(&id).cloned()
    }

    /// Reads a set of templates; a template without fields takes one back.
    pub fn read(
        &mut self,
        set: &mut Bytes<'_>,
        (is_options, is_ipfix): (bool, bool),
        counts: &mut Counts,
    ) -> Result<(), Malformed> {
        while set.len() >= 4 {
            let id = set.u16().ok_or(Malformed)?;
            let n_fields = set.u16().ok_or(Malformed)?;
            if id < 256 {
                // Padding, or a withdrawal of all (RFC 7011, 8.1).
                if is_ipfix && n_fields == 0 && id > 0 {
                    self.0.retain(|_, known| known.is_options != is_options);
                }
                return Ok(());
            }
            if n_fields == 0 {
                self.0.remove(&id);
                continue;
            }
            let (n_scopes, n_fields) = match (is_options, is_ipfix) {
                (false, _) => (0, usize::from(n_fields)),
                // The scope is of elements like the others.
                (true, true) => {
                    set.u16().ok_or(Malformed)?;
                    (0, usize::from(n_fields))
                }
                // Bytes of the scopes, which have numbers of their own, and of the options.
                (true, false) => {
                    let n_scopes = usize::from(n_fields / 4);
                    let n_options = usize::from(set.u16().ok_or(Malformed)? / 4);
                    (n_scopes, n_scopes + n_options)
                }
            };
            let fields = (0..n_fields).map(|n| field(set, n < n_scopes, is_ipfix));
            let fields = fields.collect::<Option<Vec<_>>>().ok_or(Malformed)?;
            self.add(id, Template { is_options, fields }, counts);
        }
        Ok(())
    }

    fn add(&mut self, id: u16, template: Template, counts: &mut Counts) {
        let n_fields = template.fields.len();
        let has_bytes = template.fields.iter().any(|field| field.length > 0);
        if !has_bytes || n_fields > MAX_FIELDS {
            self.0.remove(&id);
            counts.add(Counter::BadTemplate, 1);
        } else if self.0.len() < MAX_TEMPLATES || self.0.contains_key(&id) {
            self.0.insert(id, Arc::new(template));
        } else {
            counts.add(Counter::TemplatesFull, 1);
        }
    }
}

fn field(set: &mut Bytes<'_>, is_scope: bool, is_ipfix: bool) -> Option<Field> {
    let number = set.u16()?;
    let length = set.u16()?;
    // In version 9 the first bit is the number's own.
    let has_enterprise = is_ipfix && number & 0x8000 != 0;
    let of = if has_enterprise {
        match set.u32()? {
            REVERSE => Of::Reverse,
            _ => Of::Other,
        }
    } else if is_scope {
        Of::Other
    } else {
        Of::Forward
    };
    Some(Field {
        element: if is_ipfix { number & 0x7fff } else { number },
        of,
        length,
    })
}
