//! Fixed fields of messages.

/// Packs fixed fields of a message, as the kernel's structs lay them out.
macro_rules! fields {
    ($($field:expr),* $(,)?) => {{
        let mut bytes = Vec::new();
        $(bytes.extend($field.to_ne_bytes());)*
        bytes
    }};
}
pub(crate) use fields;
