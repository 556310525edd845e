//! What jobs report from outside, for checks that wait for it.

use serde_json::json;

use super::super::Core;
use super::{Answer, append, store_error};
use crate::auth::SecretHash;
use crate::check::outcome::SeriesId;
use crate::http::commands::Actor;
use crate::pipeline::Input;
use crate::store::meta;

impl Core {
    /// Returns once the report is committed.
    pub(super) async fn report(
        &self,
        series: SeriesId,
        entries: Vec<(String, Vec<u8>)>,
    ) -> Answer<()> {
        self.recorder
            .write_then(
                |_| Box::pin(async { Ok(()) }),
                move |()| Input::Reported { series, entries },
            )
            .await
            .map_err(store_error)
    }

    pub(super) async fn set_report_key(
        &self,
        check: String,
        node: String,
        key: Option<SecretHash>,
        actor: Actor,
    ) -> Answer<()> {
        let now = self.clock.now();
        let (slot, subject) = (
            meta::report_key(&check, &node),
            format!("series/{check}/{node}"),
        );
        let (action, value) = match key {
            Some(hash) => ("make_report_url", Some(hex::encode(hash))),
            None => ("remove_report_url", None),
        };
        self.recorder
            .write(move |conn| {
                let (actor, slot) = (actor.clone(), slot.clone());
                let (subject, value) = (subject.clone(), value.clone());
                Box::pin(async move {
                    match &value {
                        Some(value) => meta::set(conn, &slot, value).await?,
                        None => drop(meta::delete(conn, &slot).await?),
                    }
                    append(conn, now, &actor, action, &subject, json!({})).await
                })
            })
            .await
            .map_err(store_error)
    }
}
