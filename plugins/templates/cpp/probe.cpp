// A probe that asks a web page and judges status, body text and latency.
//
// probe_plugin.h is made by build.sh from the contract (plugins/wit): C types,
// which the functions at the top turn into C++. Whatever goes back to the
// engine is freed by the generated code with free(), hence `dup` and `list`.

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <string_view>

#include "json.hpp"
#include "probe_plugin.h"

// libc++ reports a failed check (an index out of range, say) here. Its own
// version prints to stderr, and half of WASI would be imported for that.
[[noreturn]] void std::__libcpp_verbose_abort(const char*, ...) noexcept {
    std::abort();
}

namespace {

using String = probe_plugin_string_t;
using Metric = bellwether_plugin_types_metric_t;
using MetricSpec = bellwether_plugin_types_metric_spec_t;
using NetError = bellwether_plugin_net_error_t;
using Report = exports_bellwether_plugin_probe_report_t;
using ProbeError = exports_bellwether_plugin_probe_probe_error_t;

enum State : uint8_t { ok, warning, critical, unknown };

constexpr std::string_view schema = R"({
"$schema": "https://json-schema.org/draft/2020-12/schema",
"type": "object", "additionalProperties": false, "required": ["url"],
"properties": {
  "url": {"type": "string", "x-target": "url", "description": "page to ask for", "examples": ["https://example.org/"]},
  "status": {"type": "integer", "default": 200, "description": "status expected"},
  "text": {"type": "string", "default": "", "description": "text that the body must contain"},
  "warn_ms": {"type": "number", "default": 500, "description": "this slow is a warning"},
  "critical_ms": {"type": "number", "default": 2000, "description": "this slow is critical"}
}})";

std::string_view view(const String& text) {
    return {reinterpret_cast<const char*>(text.ptr), text.len};
}

// Text for the engine, copied.
String dup(std::string_view text) {
    String copy;
    probe_plugin_string_dup_n(&copy, text.data(), text.size());
    return copy;
}

// Text that stays ours; for imports.
String borrow(std::string_view text) {
    return {reinterpret_cast<uint8_t*>(const_cast<char*>(text.data())), text.size()};
}

// A list for the engine, copied.
template <typename List, typename Item>
List list(std::initializer_list<Item> items) {
    auto* copy = static_cast<Item*>(std::calloc(items.size(), sizeof(Item)));
    if (!copy) std::abort();
    std::copy(items.begin(), items.end(), copy);
    return {copy, items.size()};
}

// Frees an answer of the engine at the end of its scope.
template <typename T, void (*release)(T*)>
struct Owned : T {
    ~Owned() { release(this); }
};
using Response = Owned<bellwether_plugin_net_http_response_t, bellwether_plugin_net_http_response_free>;

// What a failed exchange means. A target that is down is a critical report
// (true); a missing grant and a wrong URL are errors (false): nothing was
// judged.
bool judge_failure(const NetError& why, Report& report, ProbeError& error) {
    static constexpr const char* phases[] = {"resolve", "connect", "tls-handshake", "send", "first-byte", "receive"};
    // All cases with text share the place of that text.
    auto text = [&] { return std::string(view(why.val.denied)); };
    std::string summary;
    switch (why.tag) {
    case BELLWETHER_PLUGIN_NET_ERROR_DENIED:
        error.tag = EXPORTS_BELLWETHER_PLUGIN_PROBE_PROBE_ERROR_DENIED;
        error.val.denied = dup(text());
        return false;
    case BELLWETHER_PLUGIN_NET_ERROR_INVALID:
        error.tag = EXPORTS_BELLWETHER_PLUGIN_PROBE_PROBE_ERROR_CONFIG;
        error.val.config = {dup("/url"), dup(text())};
        return false;
    case BELLWETHER_PLUGIN_NET_ERROR_TIMEOUT: summary = std::string("timed out in ") + phases[why.val.timeout]; break;
    case BELLWETHER_PLUGIN_NET_ERROR_REFUSED: summary = "connection refused"; break;
    case BELLWETHER_PLUGIN_NET_ERROR_RESOLVE: summary = "name does not resolve: " + text(); break;
    case BELLWETHER_PLUGIN_NET_ERROR_UNREACHABLE: summary = "unreachable: " + text(); break;
    case BELLWETHER_PLUGIN_NET_ERROR_CLOSED: summary = "connection closed: " + text(); break;
    case BELLWETHER_PLUGIN_NET_ERROR_TLS: summary = "TLS failed: " + text(); break;
    case BELLWETHER_PLUGIN_NET_ERROR_PROTOCOL: summary = "protocol error: " + text(); break;
    default: summary = "answer larger than " + std::to_string(why.val.too_large) + " bytes";
    }
    report.state = critical;
    report.summary = dup(summary);
    return true;
}

}  // namespace

extern "C" void exports_bellwether_plugin_probe_describe(bellwether_plugin_types_manifest_t* manifest) {
    manifest->name = dup("http-cpp");
    manifest->version = dup("0.1.0");
    manifest->summary = dup("asks a web page and judges status, text and latency");
    manifest->config_schema = dup(schema);
    manifest->capabilities = list<probe_plugin_list_string_t>({dup("net")});
    manifest->metrics = list<bellwether_plugin_types_list_metric_spec_t>({
        MetricSpec{dup("latency_ms"), dup("ms"), dup("the whole exchange")},
        MetricSpec{dup("status"), dup("1"), dup("HTTP status code")},
        MetricSpec{dup("size_bytes"), dup("By"), dup("size of the body")},
    });
}

extern "C" bool exports_bellwether_plugin_probe_check(exports_bellwether_plugin_probe_request_t* request,
                                                      Report* report, ProbeError* error) {
    const FlatJson config(view(request->config));
    const std::string url = config.string("url");
    const std::string wanted = config.string("text");
    const int expected = static_cast<int>(config.number("status", 200));
    *report = {};

    bellwether_plugin_net_http_request_t ask = {};
    ask.method = borrow("GET");
    ask.url = borrow(url);
    ask.max_redirects = 10;
    ask.max_body = 1 << 20;
    Response answer = {};
    Owned<NetError, bellwether_plugin_net_error_free> why = {};
    if (!bellwether_plugin_net_http(&ask, &answer, &why)) return judge_failure(why, *report, *error);

    const double ms = static_cast<double>(answer.timings.total) / 1000.0;
    const std::string status = std::to_string(answer.status);
    const std::string_view body(reinterpret_cast<const char*>(answer.body.ptr), answer.body.len);
    std::string summary;
    report->state = critical;
    if (answer.status != expected) {
        summary = "HTTP " + status + ", expected " + std::to_string(expected);
    } else if (body.find(wanted) == body.npos) {
        summary = "HTTP " + status + ", but the body lacks \"" + wanted + "\"";
    } else {
        summary = "HTTP " + status + " in " + std::to_string(std::lround(ms)) + " ms, "
                + std::to_string(body.size()) + " bytes";
        if (ms < config.number("critical_ms", 2000)) report->state = ms < config.number("warn_ms", 500) ? ok : warning;
    }
    report->summary = dup(summary);
    report->metrics = list<exports_bellwether_plugin_probe_list_metric_t>({
        Metric{dup("latency_ms"), ms},
        Metric{dup("status"), static_cast<double>(answer.status)},
        Metric{dup("size_bytes"), static_cast<double>(body.size())},
    });
    return true;
}
