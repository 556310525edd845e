//! What plugins cost, for /metrics.

use super::Core;
use crate::plugin::CostFigures;

/// Writes the figures of each plugin, summed over its versions.
pub fn export(core: &Core) {
    let costs = core.host.costs();
    for (name, versions) in core.registry.all() {
        let mut sum = CostFigures::default();
        for version in &versions {
            sum.merge(&costs.get(&version.digest));
        }
        let plugin = || [("plugin", name.clone())];
        metrics::counter!("bellwether_plugin_runs_total", &plugin()).absolute(sum.runs);
        metrics::counter!("bellwether_plugin_cpu_microseconds_total", &plugin())
            .absolute(sum.cpu_us);
        metrics::counter!("bellwether_plugin_host_calls_total", &plugin()).absolute(sum.host_calls);
        metrics::gauge!("bellwether_plugin_peak_memory_bytes", &plugin())
            .set(sum.peak_memory as f64);
        for (kind, count) in sum.faults {
            let labels = [("plugin", name.clone()), ("kind", kind)];
            metrics::counter!("bellwether_plugin_faults_total", &labels).absolute(count);
        }
    }
}
