//! Targets, and figures reached.

use super::Evaluation;
use super::families::Group;
use super::number::percent;
use super::roc::{ENSEMBLE, FUSED};
use super::score::Content;
use super::table::Table;

/// Groups that targets are set for together; floods come first.
const FAST: [Group; 5] = [
    Group::Flood,
    Group::Reflection,
    Group::HttpFlood,
    Group::Scan,
    Group::BruteForce,
];
const QUIET: [Group; 4] = [
    Group::Tunnel,
    Group::Beacon,
    Group::SlowHttp,
    Group::ArpSpoof,
];

impl Evaluation {
    pub fn target_table(&self) -> Table {
        let (all, fast) = (self.overall(), self.of_groups(&FAST));
        let (quiet, floods) = (self.of_groups(&QUIET), self.of_groups(&FAST[..3]));
        let benign = self.alarms(Content::Benign);
        let mut table = Table::new("Targets", &["what", "target", "observed", ""]);
        for (what, share, observed) in [
            ("attacks detected", 0.95, all.detected()),
            ("floods, scans, guessed passwords", 0.98, fast.detected()),
            (
                "tunnels, beacons, slow attacks, ARP spoofing",
                0.85,
                quiet.detected(),
            ),
            (
                "entity named right, of those detected",
                0.95,
                all.entity_right(),
            ),
            (
                "family named right, of those detected",
                0.85,
                all.family_right(),
            ),
        ] {
            let target = format!("at least {}", percent(share));
            table.push(target_row(
                what,
                target,
                percent(observed),
                observed >= share,
            ));
        }
        let (per_day, per_flows) = (
            24.0 * benign.false_per_hour(),
            2.0 * benign.false_per_10_000_flows(),
        );
        let false_ones = "false incidents, benign captures";
        for (what, unit, limit, observed) in [
            (
                "median delay of floods, scans, passwords",
                "s",
                2.0,
                fast.quantile_delay_s(0.5),
            ),
            (
                "median delay of floods",
                "s",
                1.0,
                floods.quantile_delay_s(0.5),
            ),
            (false_ones, "a day", 1.0, per_day),
            (false_ones, "in 20,000 flows", 1.0, per_flows),
        ] {
            let target = format!("at most {limit} {unit}");
            let text = if observed.is_finite() {
                format!("{observed:.2} {unit}")
            } else {
                "none detected".to_owned()
            };
            table.push(target_row(what, target, text, observed <= limit));
        }
        self.add_compositions(&mut table);
        table
    }

    /// Captures that are compositions, by their names.
    fn add_compositions(&self, table: &mut Table) {
        for capture in self.captures.iter().filter(|c| c.id.starts_with("comp_")) {
            let Some(ranking) = &capture.ranking else {
                continue;
            };
            let areas = &ranking.windows.areas;
            let best = areas[..ENSEMBLE]
                .iter()
                .map(|area| area.roc)
                .fold(0.0, f64::max);
            let fused = areas[FUSED].roc;
            table.push(target_row(
                &format!("ROC-AUC of the fused score over windows, {}", capture.id),
                format!("at least 0.97, above every model ({best:.3})"),
                format!("{fused:.3}"),
                fused >= 0.97 && fused > best,
            ));
        }
    }
}

fn target_row(what: &str, target: String, observed: String, is_reached: bool) -> Vec<String> {
    let word = if is_reached { "reached" } else { "not reached" };
    vec![what.to_owned(), target, observed, word.to_owned()]
}
