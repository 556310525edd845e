//! What an expression needs from the engine.

use std::sync::Arc;
use std::time::Duration;

use crate::alert::query::{LogQuery, QueryError};

/// A function over the samples of a time window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Agg {
    Avg,
    Min,
    Max,
    Sum,
    P50,
    P95,
    P99,
    /// Growth of a counter per second, resets allowed for.
    Rate,
    /// Growth of a counter, resets allowed for.
    Increase,
    /// Number of samples; 0 where there is none.
    Count,
    /// The latest sample.
    Last,
    /// Seconds since the latest sample.
    Age,
}

impl Agg {
    /// Every function with its name in expressions.
    pub const ALL: [(&'static str, Agg); 12] = [
        ("avg", Agg::Avg),
        ("min", Agg::Min),
        ("max", Agg::Max),
        ("sum", Agg::Sum),
        ("p50", Agg::P50),
        ("p95", Agg::P95),
        ("p99", Agg::P99),
        ("rate", Agg::Rate),
        ("increase", Agg::Increase),
        ("count", Agg::Count),
        ("last", Agg::Last),
        ("age", Agg::Age),
    ];
}

/// Samples and log counts over time, as of one moment.
pub trait Windows {
    /// The aggregate over the samples of `metric` in the last `window`.
    ///
    /// Without `check` over the series at hand; with `check` alone over all its
    /// nodes; with both over that series. `None` where there is no sample,
    /// except for [`Agg::Count`].
    fn aggregate(
        &self,
        f: Agg,
        metric: &str,
        window: Duration,
        check: Option<&str>,
        node: Option<&str>,
    ) -> Option<f64>;

    /// Records in the last `window` that match query number `query` of the
    /// [`QuerySet`].
    fn log_count(&self, query: usize, window: Duration) -> u64;
}

/// A metric window that an expression looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MetricNeed {
    pub metric: Arc<str>,
    pub window: Duration,
    /// The check named in the call; absent means the series at hand.
    pub check: Option<Arc<str>>,
    /// The node named in the call.
    pub node: Option<Arc<str>>,
}

/// What an expression reads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// True where it reads something of a single result, so that each (check,
    /// node) has an alert of its own.
    pub per_result: bool,
    /// True where it reads what only the moment of a result has: its metrics, and
    /// the state before it.
    pub of_a_moment: bool,
    pub metrics: Vec<MetricNeed>,
    /// Log queries by number, each with its window.
    pub queries: Vec<(usize, Duration)>,
    /// A check that the result must be of for the expression to hold.
    pub check_filter: Option<Arc<str>>,
    /// Names of checks that it mentions.
    pub checks: Vec<Arc<str>>,
    /// Names of nodes that it mentions.
    pub nodes: Vec<Arc<str>>,
}

/// The distinct log queries of all rules, numbered.
#[derive(Clone, Debug, Default)]
pub struct QuerySet {
    list: Vec<QueryUse>,
}

/// A log query that rules count.
#[derive(Clone, Debug)]
pub struct QueryUse {
    pub text: Arc<str>,
    pub query: LogQuery,
    /// The longest window asked for.
    pub window: Duration,
}

impl QuerySet {
    /// The number of a query, entered if it is new.
    ///
    /// # Errors
    /// A query that does not parse.
    pub fn intern(&mut self, text: &str, window: Duration) -> Result<usize, QueryError> {
        let query = LogQuery::parse(text)?;
        if let Some(i) = self.list.iter().position(|known| known.query == query) {
            self.list[i].window = self.list[i].window.max(window);
            return Ok(i);
        }
        self.list.push(QueryUse {
            text: text.into(),
            query,
            window,
        });
        Ok(self.list.len() - 1)
    }

    /// All queries, by number.
    pub fn list(&self) -> &[QueryUse] {
        &self.list
    }
}
