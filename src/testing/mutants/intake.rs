//! The intake.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{Mutant, MutantStore};
use crate::delivery::Event;
use crate::store::{IntakeStore, SetAside, StoreError, Submission, SubmissionNo, TakeIn, TakenIn, Wake};

#[async_trait]
impl IntakeStore for MutantStore {
    async fn submit(&self, mut events: Vec<Event>) -> Result<(), StoreError> {
        if self.is(Mutant::SubmissionsReversed) {
            events.reverse();
        }
        self.store.submit(events).await
    }

    async fn submissions(
        &self,
        after: Option<SubmissionNo>,
        max: usize,
    ) -> Result<Vec<Submission>, StoreError> {
        let after = after.filter(|_| !self.is(Mutant::PagesRepeated));
        self.store.submissions(after, max).await
    }

    async fn take_in(&self, mut taking: Vec<TakeIn>, now: DateTime<Utc>) -> Result<Vec<TakenIn>, StoreError> {
        match self.mutant {
            Mutant::SubmissionForgotten => {
                for new in taking.iter_mut().filter_map(|taking| taking.event.as_mut()) {
                    new.deliveries.clear();
                }
                self.store.take_in(taking, now).await
            }
            Mutant::SubmissionLeftBehind => {
                let events = taking.iter().filter_map(|taking| taking.event.clone());
                self.store.enqueue(events.collect(), now).await?;
                Ok(vec![TakenIn::Duplicate; taking.len()])
            }
            Mutant::SubmissionTakenTwice => {
                let answers = self.store.take_in(taking.clone(), now).await?;
                for (taking, answer) in taking.into_iter().zip(&answers) {
                    if let (Some(event), TakenIn::Gone) = (taking.event, answer) {
                        self.enqueue_twin(event, now).await?;
                    }
                }
                Ok(answers)
            }
            Mutant::SetAsideForgotten => {
                let answers = self.store.take_in(taking.clone(), now).await?;
                for (taking, answer) in taking.iter().zip(&answers) {
                    if let TakenIn::SetAside(_) = answer {
                        self.store.discard(taking.number).await?;
                    }
                }
                Ok(answers)
            }
            _ => self.store.take_in(taking, now).await,
        }
    }

    async fn set_aside(
        &self,
        after: Option<SubmissionNo>,
        max: usize,
    ) -> Result<Vec<(Submission, SetAside)>, StoreError> {
        let after = after.filter(|_| !self.is(Mutant::PagesRepeated));
        self.store.set_aside(after, max).await
    }

    async fn discard(&self, number: SubmissionNo) -> Result<bool, StoreError> {
        self.store.discard(number).await
    }

    fn intake_wake(&self) -> &Wake {
        self.bell(self.store.intake_wake())
    }
}
