//! Stops by a person: of a block, of one decision, or of all enforcement.

use ipnet::IpNet;
use sensor_engine::Scope;
use sensor_record::{About, AuditAction, Origin};
use tracing::{error, info};

use super::KernelRespond;
use crate::entry::{BlockError, Listed, Shown};

impl KernelRespond {
    /// Takes a source off the block-list: one scope of it, or, without, all.
    ///
    /// # Errors
    /// [`BlockError::NotListed`].
    pub fn unblock(
        &mut self,
        target: &IpNet,
        scope: Option<Scope>,
        by: &Origin,
    ) -> Result<Vec<Listed>, BlockError> {
        let scopes = scope.map_or_else(|| self.blocks.scopes_of(target), |scope| vec![scope]);
        if scopes.is_empty() {
            return Err(BlockError::NotListed { target: *target });
        }
        let remove = |scope: &Scope| self.blocks.remove(target, *scope);
        let removed = scopes.iter().map(remove).collect::<Result<Vec<_>, _>>()?;
        info!(target = %Shown(target), ?by, "block removed");
        self.note_ended(AuditAction::Remove, &removed, by, "asked for");
        Ok(removed)
    }

    /// Leaves entries in force until they expire: the agent ends, and nobody shows a sign of life.
    pub fn leave_in_force(&mut self) {
        self.options.dead_after_s = 0;
        self.open_gate();
    }

    /// Refusal of the guard that a target would meet.
    pub fn refusal(&self, target: &IpNet) -> Option<String> {
        self.check(target).err().map(|cause| cause.to_string())
    }

    /// Takes back what a decision did.
    ///
    /// # Errors
    /// Where nothing of it is in force.
    pub fn undo(&mut self, id: &str, by: &Origin) -> Result<Vec<Listed>, String> {
        let names = self.blocks.of_decision(id);
        if names.is_empty() {
            return Err(format!("nothing of decision {id} is in force"));
        }
        let removed = names
            .iter()
            .filter_map(|(target, scope)| self.blocks.remove(target, *scope).ok());
        let removed: Vec<Listed> = removed.collect();
        info!(id, ?by, "decision undone");
        self.note_ended(AuditAction::Remove, &removed, by, "undone");
        Ok(removed)
    }

    /// Follows a person who stops the enforcement in the pinned maps, or lets it go on.
    pub(super) fn follow_stop(&mut self) {
        let is_stopped = self.blocks.is_stopped();
        if is_stopped == self.is_stopped {
            return;
        }
        self.is_stopped = is_stopped;
        let reason = if is_stopped {
            error!("enforcement stopped by `sensor panic`: nothing is dropped");
            "panic"
        } else {
            info!("enforcement goes on");
            "end of panic"
        };
        let configured = sensor_record::Mode::from(self.options.mode);
        let monitor = sensor_record::Mode::Monitor;
        let (from, to) = if is_stopped {
            (configured, monitor)
        } else {
            (monitor, configured)
        };
        let about = About {
            from: Some(from),
            to: Some(to),
            reason: Some(reason.to_owned()),
            ..About::default()
        };
        self.note(AuditAction::ModeChange, about);
    }
}
