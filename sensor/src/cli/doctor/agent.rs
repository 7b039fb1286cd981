//! The running agent, where one answers: what it says of its own parts.

use sensor_record::answer::Status as Told;
use sensor_record::{Health, HealthCheck};

use super::{Finding, Status};
use crate::agent::protocol::Request;
use crate::cli::client::Reach;

/// Findings of the agent about itself; where none answers, that.
pub fn examine(reach: &Reach) -> Vec<Finding> {
    let asked = reach
        .connect()
        .and_then(|mut client| client.ask::<Told>(&Request::Status));
    match asked {
        Ok(status) => findings(&status),
        Err(cause) => vec![Finding::ok("agent", format!("{cause:#}"))],
    }
}

fn findings(status: &Told) -> Vec<Finding> {
    let part = format!("running agent (process {})", status.pid);
    let of_part = |check: &HealthCheck| Finding {
        check: match &check.of {
            Some(of) => format!("{} {of}", check.check).into(),
            None => check.check.clone(),
        },
        interface: None,
        agent: Some(part.clone()),
        status: match check.state {
            Health::Ok => Status::Ok,
            Health::Degraded => Status::Degraded,
            Health::Failed => Status::Stops,
        },
        finding: check.finding.clone(),
        remedy: check.remedy.clone(),
    };
    status.health.iter().map(of_part).collect()
}

#[cfg(test)]
mod tests {
    use sensor_record::example;

    use super::*;

    #[test]
    fn a_failed_part_of_the_agent_is_told_with_its_remedy() {
        let found = findings(&example::status());
        let [one] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!(one.check, "output stdout");
        assert_eq!(one.status, Status::Stops);
        assert!(one.remedy.is_some() && one.finding.contains("lines lost"));
        assert_eq!(one.group(), Some("running agent (process 4242)"));
    }
}
