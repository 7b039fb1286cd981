//! Answers out of the store.

use std::sync::Arc;

use sensor_deliver::stix_bundle;
use sensor_engine::SECOND_NS;
use sensor_record::{Name, Reason, Remark, Timestamp};
use sensor_respond::Origin;
use sensor_store::{Filter, MAX_REMARKS, MAX_REPORT_S, Reader, Story};

use super::Answers;
use crate::agent::Ask;
use crate::agent::api::protocol::{Answer, Code, RateQuery, Refusal, ReportQuery, StoreQuery};

impl Answers {
    /// Reads the store, at a thread that may wait for the disk; two at a time.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Reader) -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T, Refusal> {
        let failed = |cause: String| Refusal::new(Code::Failed, cause);
        let store = self.snapshot().about.store.clone();
        let store = store.ok_or_else(|| {
            Refusal::new(
                Code::NotFound,
                "there is no store; see [store] in the configuration",
            )
        })?;
        let place = Arc::clone(&self.readers).acquire_owned().await;
        let place = place.map_err(|cause| failed(cause.to_string()))?;
        let read = move || {
            let answer = question(&store.reader);
            drop(place);
            answer
        };
        let read = tokio::task::spawn_blocking(read).await;
        let read = read.map_err(|cause| failed(cause.to_string()))?;
        read.map_err(|cause| failed(format!("{cause:#}")))
    }

    /// Takes a remark on an incident of the store.
    pub(super) async fn remark(
        &self,
        id: Name,
        (remark, [assignee, ticket]): (Reason, [Option<Name>; 2]),
        by: Origin,
    ) -> Result<Answer, Refusal> {
        if remark.as_str().is_empty() && assignee.is_none() && ticket.is_none() {
            let message = "say something: a remark, an assignee or a ticket";
            return Err(Refusal::new(Code::BadRequest, message));
        }
        let story = self.known_story(id).await?;
        if story.remarks.len() >= MAX_REMARKS {
            let message = format!("it has {MAX_REMARKS} remarks, and takes no more");
            return Err(Refusal::new(Code::Refused, message));
        }
        let text = |name: Name| name.as_str().to_owned();
        let remark = Remark {
            head: self.snapshot().about.sensor.head(Timestamp::now().0),
            incident_id: story.incident.id,
            remark: remark.as_str().to_owned(),
            assignee: assignee.map(text),
            ticket: ticket.map(text),
            by,
        };
        let remark = Box::new(remark);
        let made = self.ask(|reply| Ask::Remark { remark, reply }).await?;
        Ok(Answer::Remark(Box::new(made)))
    }

    /// Tells all of an incident.
    pub(super) async fn story(&self, id: Name) -> Result<Answer, Refusal> {
        let story = self.known_story(id).await?;
        Ok(Answer::Story(Box::new(story)))
    }

    /// Tells all of an incident, which may be named as for [`Self::account`].
    pub(super) async fn known_story(&self, id: Name) -> Result<Story, Refusal> {
        if id.as_str().is_empty() {
            return Err(Refusal::new(Code::BadRequest, "name an incident"));
        }
        let known = self.recent.account(id.as_str());
        let name = known.map_or_else(|_| id.as_str().to_owned(), |known| known.id().to_owned());
        let story = self.read(move |store| store.story(&name)).await?;
        story.ok_or_else(|| {
            let message = format!("no incident {} in the store", id.as_str());
            Refusal::new(Code::NotFound, message)
        })
    }

    /// Finds incidents and flows.
    pub(super) async fn query(
        &self,
        StoreQuery { q, limit }: StoreQuery,
    ) -> Result<Answer, Refusal> {
        let filter = Filter::parse(&q, Timestamp::now().0);
        let filter = filter.map_err(|why| Refusal::new(Code::BadRequest, why.to_string()))?;
        let found = self.read(move |store| store.find(&filter, limit)).await?;
        Ok(Answer::Found(Box::new(found)))
    }

    /// Tells rates over time.
    pub(super) async fn rates(
        &self,
        RateQuery { of, since, until }: RateQuery,
    ) -> Result<Answer, Refusal> {
        let span = (since.0, until.0);
        let rates = self.read(move |store| store.rates(of, span)).await?;
        Ok(Answer::Rates(rates))
    }

    /// Counts what happened within a span.
    pub(super) async fn report(
        &self,
        ReportQuery { since, until }: ReportQuery,
    ) -> Result<Answer, Refusal> {
        if since > until || (until.0 - since.0) / SECOND_NS > MAX_REPORT_S {
            let message = "a report begins before it ends, and is of ten years at most";
            return Err(Refusal::new(Code::BadRequest, message));
        }
        let span = (since.0, until.0);
        let report = self.read(move |store| store.report(span)).await?;
        Ok(Answer::Report(Box::new(report)))
    }

    /// Tells an incident as STIX.
    pub(super) async fn stix(&self, id: Name) -> Result<Answer, Refusal> {
        let story = self.known_story(id).await?;
        Ok(Answer::Stix(stix_bundle(&story.incident)))
    }
}
