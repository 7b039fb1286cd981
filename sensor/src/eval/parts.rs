//! What the verdicts are made of, and which of it is to speak in a run.

use sensor_capture::player::Conditions;
use sensor_engine::{Config, ModelKind};

/// A model, or all the behaviour detectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Detectors,
    Model(ModelKind),
}

impl Part {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Detectors => "detectors",
            Self::Model(model) => model.label(),
        }
    }
}

/// Those that speak together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts(Vec<Part>);

impl Parts {
    /// The detectors and the models of a configuration.
    pub fn configured(config: &Config) -> Self {
        let models = config.scoring.models.iter().copied().map(Part::Model);
        Self(std::iter::once(Part::Detectors).chain(models).collect())
    }

    /// Reads names between commas; `all` and `default` stand for several.
    ///
    /// # Errors
    /// When a name is none.
    pub fn parse(text: &str, config: &Config) -> Result<Self, String> {
        let mut parts = Vec::new();
        for word in text.split(',').map(str::trim) {
            match (word, ModelKind::named(word)) {
                ("all", _) => {
                    parts.push(Part::Detectors);
                    parts.extend(ModelKind::ALL.map(Part::Model));
                }
                ("default", _) => parts.extend(Self::configured(config).0),
                ("detectors", _) => parts.push(Part::Detectors),
                (_, Some(model)) => parts.push(Part::Model(model)),
                (_, None) => return Err(unknown(word)),
            }
        }
        // In one order, each once.
        let known = std::iter::once(Part::Detectors).chain(ModelKind::ALL.map(Part::Model));
        Ok(Self(known.filter(|part| parts.contains(part)).collect()))
    }

    pub fn models(&self) -> Vec<ModelKind> {
        let models = self.0.iter().filter_map(|part| match part {
            Part::Model(model) => Some(*model),
            Part::Detectors => None,
        });
        models.collect()
    }

    /// The conditions with these parts and no others.
    pub fn conditions(&self, conditions: &Conditions) -> Conditions {
        conditions.with_engine(self.config(&conditions.engine))
    }

    fn config(&self, config: &Config) -> Config {
        let mut config = config.clone();
        config.scoring.models = self.models();
        config.omit_detectors = !self.0.contains(&Part::Detectors);
        config
    }

    /// Each alone, then all but each, with a name; without those that would be all or none.
    pub fn variants(&self) -> Vec<(String, Self)> {
        let mut variants = Vec::new();
        if self.0.len() > 1 {
            let alone = |part: &Part| (format!("only {}", part.label()), Self(vec![*part]));
            variants.extend(self.0.iter().map(alone));
        }
        if self.0.len() > 2 {
            let without = |part: &Part| {
                let rest = self.0.iter().filter(|other| *other != part);
                let name = format!("without {}", part.label());
                (name, Self(rest.copied().collect()))
            };
            variants.extend(self.0.iter().map(without));
        }
        variants
    }
}

fn unknown(word: &str) -> String {
    let names: Vec<&str> = ModelKind::ALL.iter().map(|model| model.label()).collect();
    format!(
        "\"{word}\" is no model, use all, default, detectors, {}",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_order_and_once() {
        let config = Config::default();
        let parts = Parts::parse("kitnet, detectors,baseline,kitnet", &config).unwrap();
        let expected = [
            Part::Detectors,
            Part::Model(ModelKind::KitNet),
            Part::Model(ModelKind::Baseline),
        ];
        assert_eq!(parts, Parts(expected.to_vec()));
        let names: Vec<String> = parts.variants().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.first().map(String::as_str), Some("only detectors"));
        assert_eq!(names.last().map(String::as_str), Some("without baseline"));
        assert_eq!(names.len(), 6);
        let default = Parts::parse("default", &config).unwrap();
        assert_eq!(default, Parts::configured(&config));
        assert_eq!(default.config(&config), config);
        let all = Parts::parse("all", &config).unwrap();
        assert_eq!(all.models().len(), ModelKind::ALL.len());
    }

    #[test]
    fn one_alone_is_compared_with_nothing() {
        let config = Config::default();
        let parts = Parts::parse("kitnet", &config).unwrap();
        assert_eq!(parts.variants(), []);
        let changed = parts.config(&config);
        assert_eq!(changed.scoring.models, [ModelKind::KitNet]);
        assert!(changed.omit_detectors);
    }

    #[test]
    fn an_unknown_name_is_said_with_those_that_there_are() {
        let fault = Parts::parse("kitnet,foo", &Config::default()).unwrap_err();
        assert!(
            fault.contains("\"foo\"") && fault.contains("mixture"),
            "{fault}"
        );
    }
}
