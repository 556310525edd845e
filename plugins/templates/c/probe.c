/* A probe that asks a web page and judges status, body text and latency.
 *
 * probe_plugin.h is made by build.sh from the contract (plugins/wit). Whatever
 * a function here hands to the engine is freed by the generated code with
 * free(): copy text with probe_plugin_string_dup, never point to a literal. */
#define _GNU_SOURCE /* memmem */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "probe_plugin.h"

/* Shorter names for what this file uses of the contract. */
typedef probe_plugin_string_t string_t;
typedef bellwether_plugin_types_metric_spec_t metric_spec_t;
typedef bellwether_plugin_types_metric_t metric_t;
typedef bellwether_plugin_net_http_request_t http_request_t;
typedef bellwether_plugin_net_http_response_t http_response_t;
typedef bellwether_plugin_net_error_t net_error_t;
typedef exports_bellwether_plugin_probe_report_t report_t;
typedef exports_bellwether_plugin_probe_probe_error_t probe_error_t;

enum { OK, WARNING, CRITICAL, UNKNOWN };

static const char SCHEMA[] =
    "{\"$schema\": \"https://json-schema.org/draft/2020-12/schema\","
    "\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"url\"],"
    "\"properties\": {"
    "\"url\": {\"type\": \"string\", \"x-target\": \"url\", \"description\": \"page to ask for\","
    " \"examples\": [\"https://example.org/\"]},"
    "\"status\": {\"type\": \"integer\", \"default\": 200, \"description\": \"status expected\"},"
    "\"text\": {\"type\": \"string\", \"default\": \"\", \"description\": \"text that the body must contain\"},"
    "\"warn_ms\": {\"type\": \"number\", \"default\": 500, \"description\": \"this slow is a warning\"},"
    "\"critical_ms\": {\"type\": \"number\", \"default\": 2000, \"description\": \"this slow is critical\"}"
    "}}";

/* Memory, or a trap: the engine records it as a fault of the plugin. */
static void *allocate(size_t size) {
    void *memory = calloc(1, size);
    if (!memory) abort();
    return memory;
}

/* Text by a printf pattern, in memory that the generated code may free. */
__attribute__((format(printf, 2, 3)))
static void print(string_t *out, const char *pattern, ...) {
    char *text = NULL;
    va_list arguments;
    va_start(arguments, pattern);
    if (vasprintf(&text, pattern, arguments) < 0) abort();
    va_end(arguments);
    probe_plugin_string_set(out, text);
}

static void describe_metric(metric_spec_t *spec, const char *name, const char *unit, const char *text) {
    probe_plugin_string_dup(&spec->name, name);
    probe_plugin_string_dup(&spec->unit, unit);
    probe_plugin_string_dup(&spec->description, text);
}

void exports_bellwether_plugin_probe_describe(bellwether_plugin_types_manifest_t *manifest) {
    probe_plugin_string_dup(&manifest->name, "http-c");
    probe_plugin_string_dup(&manifest->version, "0.1.0");
    probe_plugin_string_dup(&manifest->summary, "asks a web page and judges status, text and latency");
    probe_plugin_string_dup(&manifest->config_schema, SCHEMA);
    manifest->capabilities.len = 1;
    manifest->capabilities.ptr = allocate(sizeof(string_t));
    probe_plugin_string_dup(&manifest->capabilities.ptr[0], "net");
    manifest->metrics.len = 3;
    manifest->metrics.ptr = allocate(3 * sizeof(metric_spec_t));
    describe_metric(&manifest->metrics.ptr[0], "latency_ms", "ms", "the whole exchange");
    describe_metric(&manifest->metrics.ptr[1], "status", "1", "HTTP status code");
    describe_metric(&manifest->metrics.ptr[2], "size_bytes", "By", "size of the body");
}

/* What a failed exchange means. A target that is down is a critical report
 * (true); a missing grant and a wrong URL are errors (false): nothing was
 * judged. */
static bool judge_failure(const net_error_t *why, report_t *report, probe_error_t *error) {
    static const char *const PHASES[] = {"resolve", "connect", "tls-handshake", "send", "first-byte", "receive"};
    /* All cases with text share the place of that text. */
    const string_t text = why->val.denied;
#define TEXT (int)text.len, (const char *)text.ptr
    report->state = CRITICAL;
    switch (why->tag) {
    case BELLWETHER_PLUGIN_NET_ERROR_DENIED:
        error->tag = EXPORTS_BELLWETHER_PLUGIN_PROBE_PROBE_ERROR_DENIED;
        print(&error->val.denied, "%.*s", TEXT);
        return false;
    case BELLWETHER_PLUGIN_NET_ERROR_INVALID:
        error->tag = EXPORTS_BELLWETHER_PLUGIN_PROBE_PROBE_ERROR_CONFIG;
        probe_plugin_string_dup(&error->val.config.pointer, "/url");
        print(&error->val.config.message, "%.*s", TEXT);
        return false;
    case BELLWETHER_PLUGIN_NET_ERROR_TIMEOUT: print(&report->summary, "timed out in %s", PHASES[why->val.timeout]); break;
    case BELLWETHER_PLUGIN_NET_ERROR_REFUSED: print(&report->summary, "connection refused"); break;
    case BELLWETHER_PLUGIN_NET_ERROR_RESOLVE: print(&report->summary, "name does not resolve: %.*s", TEXT); break;
    case BELLWETHER_PLUGIN_NET_ERROR_UNREACHABLE: print(&report->summary, "unreachable: %.*s", TEXT); break;
    case BELLWETHER_PLUGIN_NET_ERROR_CLOSED: print(&report->summary, "connection closed: %.*s", TEXT); break;
    case BELLWETHER_PLUGIN_NET_ERROR_TLS: print(&report->summary, "TLS failed: %.*s", TEXT); break;
    case BELLWETHER_PLUGIN_NET_ERROR_PROTOCOL: print(&report->summary, "protocol error: %.*s", TEXT); break;
    default: print(&report->summary, "answer larger than %llu bytes", (unsigned long long)why->val.too_large);
    }
#undef TEXT
    return true;
}

static void set_metric(metric_t *metric, const char *name, double value) {
    probe_plugin_string_dup(&metric->name, name);
    metric->value = value;
}

bool exports_bellwether_plugin_probe_check(exports_bellwether_plugin_probe_request_t *request,
                                           report_t *report, probe_error_t *error) {
    const char *config = (const char *)request->config.ptr;
    const char *end = config + request->config.len;
    char *url = json_text(config, end, "url");
    char *wanted = json_text(config, end, "text");
    const int expected = (int)json_number(config, end, "status", 200);
    const double warn_ms = json_number(config, end, "warn_ms", 500);
    const double critical_ms = json_number(config, end, "critical_ms", 2000);
    memset(report, 0, sizeof *report);

    /* What goes into an import stays ours; literals are fine here. */
    http_request_t ask = {.max_redirects = 10, .max_body = 1 << 20};
    probe_plugin_string_set(&ask.method, "GET");
    probe_plugin_string_set(&ask.url, url ? url : "");
    http_response_t answer;
    net_error_t why;
    if (!bellwether_plugin_net_http(&ask, &answer, &why)) {
        bool judged = judge_failure(&why, report, error);
        bellwether_plugin_net_error_free(&why);
        free(url);
        free(wanted);
        return judged;
    }

    const double ms = (double)answer.timings.total / 1000.0;
    const size_t size = answer.body.len;
    if (answer.status != expected) {
        report->state = CRITICAL;
        print(&report->summary, "HTTP %d, expected %d", answer.status, expected);
    } else if (wanted && *wanted && !memmem(answer.body.ptr, size, wanted, strlen(wanted))) {
        report->state = CRITICAL;
        print(&report->summary, "HTTP %d, but the body lacks \"%s\"", answer.status, wanted);
    } else {
        report->state = ms >= critical_ms ? CRITICAL : ms >= warn_ms ? WARNING : OK;
        print(&report->summary, "HTTP %d in %.0f ms, %zu bytes", answer.status, ms, size);
    }
    report->metrics.len = 3;
    report->metrics.ptr = allocate(3 * sizeof(metric_t));
    set_metric(&report->metrics.ptr[0], "latency_ms", ms);
    set_metric(&report->metrics.ptr[1], "status", answer.status);
    set_metric(&report->metrics.ptr[2], "size_bytes", (double)size);

    bellwether_plugin_net_http_response_free(&answer);
    free(url);
    free(wanted);
    return true;
}
