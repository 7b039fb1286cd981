//! Ablation: which components speak in a run, each alone and each left out.

use sensor_capture::player::Conditions;
use sensor_engine::{Config, ModelKind};

/// A model, or all the behaviour detectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    Detectors,
    Model(ModelKind),
}

impl Component {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Detectors => "detectors",
            Self::Model(model) => model.label(),
        }
    }
}

/// Components that speak together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Components(Vec<Component>);

impl Components {
    /// The detectors and the models of a configuration.
    pub fn configured(config: &Config) -> Self {
        let models = config.scoring.models.iter().copied().map(Component::Model);
        let all = std::iter::once(Component::Detectors).chain(models);
        Self(all.collect())
    }

    /// Reads names between commas; `all` and `default` stand for several.
    ///
    /// # Errors
    /// When a name is none.
    pub fn parse(text: &str, config: &Config) -> Result<Self, String> {
        let mut components = Vec::new();
        for word in text.split(',').map(str::trim) {
            match (word, ModelKind::named(word)) {
                ("all", _) => {
                    components.push(Component::Detectors);
                    components.extend(ModelKind::ALL.map(Component::Model));
                }
                ("default", _) => components.extend(Self::configured(config).0),
                ("detectors", _) => components.push(Component::Detectors),
                (_, Some(model)) => components.push(Component::Model(model)),
                (_, None) => return Err(unknown(word)),
            }
        }
        // In one order, each once.
        let known =
            std::iter::once(Component::Detectors).chain(ModelKind::ALL.map(Component::Model));
        let named = known.filter(|component| components.contains(component));
        Ok(Self(named.collect()))
    }

    pub fn models(&self) -> Vec<ModelKind> {
        let models = self.0.iter().filter_map(|component| match component {
            Component::Model(model) => Some(*model),
            Component::Detectors => None,
        });
        models.collect()
    }

    /// The conditions with these components and no others.
    pub fn conditions(&self, conditions: &Conditions) -> Conditions {
        conditions.with_engine(self.config(&conditions.engine))
    }

    fn config(&self, config: &Config) -> Config {
        let mut config = config.clone();
        config.scoring.models = self.models();
        config.omit_detectors = !self.0.contains(&Component::Detectors);
        config
    }

    /// Each alone, then all but each, with a name; without those that would be all or none.
    pub fn variants(&self) -> Vec<(String, Self)> {
        let mut variants = Vec::new();
        if self.0.len() > 1 {
            let alone = |component: &Component| {
                (
                    format!("only {}", component.label()),
                    Self(vec![*component]),
                )
            };
            variants.extend(self.0.iter().map(alone));
        }
        if self.0.len() > 2 {
            let without = |component: &Component| {
                let rest = self.0.iter().filter(|other| *other != component);
                let name = format!("without {}", component.label());
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
        let components = Components::parse("kitnet, detectors,baseline,kitnet", &config).unwrap();
        let expected = [
            Component::Detectors,
            Component::Model(ModelKind::KitNet),
            Component::Model(ModelKind::Baseline),
        ];
        assert_eq!(components, Components(expected.to_vec()));
        let names: Vec<String> = components
            .variants()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names.first().map(String::as_str), Some("only detectors"));
        assert_eq!(names.last().map(String::as_str), Some("without baseline"));
        assert_eq!(names.len(), 6);
        let default = Components::parse("default", &config).unwrap();
        assert_eq!(default, Components::configured(&config));
        assert_eq!(default.config(&config), config);
        let all = Components::parse("all", &config).unwrap();
        assert_eq!(all.models().len(), ModelKind::ALL.len());
    }

    #[test]
    fn a_single_model_has_no_variants_to_compare() {
        let config = Config::default();
        let components = Components::parse("kitnet", &config).unwrap();
        assert_eq!(components.variants(), []);
        let changed = components.config(&config);
        assert_eq!(changed.scoring.models, [ModelKind::KitNet]);
        assert!(changed.omit_detectors);
    }

    #[test]
    fn an_unknown_name_is_said_with_those_that_there_are() {
        let fault = Components::parse("kitnet,foo", &Config::default()).unwrap_err();
        assert!(
            fault.contains("\"foo\"") && fault.contains("mixture"),
            "{fault}"
        );
    }
}
