//! A probe that asks a web page and judges status, body text and latency.
//!
//! `contract` is made by build.sh from the contract (plugins/wit). Whatever a
//! function here hands to the engine is freed with `free()`: it comes from the
//! C allocator, and text is copied, never a literal.

const std = @import("std");
const contract = @import("contract");

const allocator = std.heap.c_allocator;
const String = contract.probe_plugin_string_t;
const Metric = contract.bellwether_plugin_types_metric_t;
const MetricSpec = contract.bellwether_plugin_types_metric_spec_t;
const Manifest = contract.bellwether_plugin_types_manifest_t;
const NetError = contract.bellwether_plugin_net_error_t;
const Request = contract.exports_bellwether_plugin_probe_request_t;
const Report = contract.exports_bellwether_plugin_probe_report_t;
const ProbeError = contract.exports_bellwether_plugin_probe_probe_error_t;

const State = enum(u8) { ok, warning, critical, unknown };

/// The check's configuration. The engine has checked it against `schema`
/// before it comes here.
const Config = struct {
    url: []const u8,
    status: u16 = 200,
    text: []const u8 = "",
    warn_ms: f64 = 500,
    critical_ms: f64 = 2000,
};

/// JSON Schema of the configuration: the web UI makes its form from it.
/// `x-target` names what the probe talks to, so that it can be granted.
const schema =
    \\{"$schema": "https://json-schema.org/draft/2020-12/schema",
    \\"type": "object", "additionalProperties": false, "required": ["url"],
    \\"properties": {
    \\  "url": {"type": "string", "x-target": "url", "description": "page to ask for", "examples": ["https://example.org/"]},
    \\  "status": {"type": "integer", "default": 200, "description": "status expected"},
    \\  "text": {"type": "string", "default": "", "description": "text that the body must contain"},
    \\  "warn_ms": {"type": "number", "default": 500, "description": "this slow is a warning"},
    \\  "critical_ms": {"type": "number", "default": 2000, "description": "this slow is critical"}
    \\}}
;

/// A panic's message goes to the run's log. The standard handler would print a
/// stack trace, and import half of WASI for it.
pub const panic = std.debug.FullPanic(struct {
    fn report(message: []const u8, _: ?usize) noreturn {
        var text = borrowed(message);
        contract.bellwether_plugin_log_write(contract.BELLWETHER_PLUGIN_TYPES_LEVEL_ERROR, &text);
        @trap();
    }
}.report);

/// Text for the engine, copied.
fn owned(text: []const u8) String {
    const copy = allocator.dupe(u8, text) catch @panic("out of memory");
    return .{ .ptr = copy.ptr, .len = copy.len };
}

/// Text for the engine, formatted.
fn print(comptime format: []const u8, values: anytype) String {
    const text = std.fmt.allocPrint(allocator, format, values) catch @panic("out of memory");
    return .{ .ptr = text.ptr, .len = text.len };
}

/// Text that stays ours; for imports.
fn borrowed(text: []const u8) String {
    return .{ .ptr = @constCast(text.ptr), .len = text.len };
}

fn slice(text: String) []const u8 {
    return if (text.len == 0) "" else text.ptr[0..text.len];
}

fn list(comptime T: type, comptime length: usize, items: [length]T) [*]T {
    return (allocator.dupe(T, &items) catch @panic("out of memory")).ptr;
}

fn spec(name: []const u8, unit: []const u8, description: []const u8) MetricSpec {
    return .{ .name = owned(name), .unit = owned(unit), .description = owned(description) };
}

export fn exports_bellwether_plugin_probe_describe(manifest: *Manifest) void {
    manifest.* = .{
        .name = owned("http-zig"),
        .version = owned("0.1.0"),
        .summary = owned("asks a web page and judges status, text and latency"),
        .config_schema = owned(schema),
        .capabilities = .{ .ptr = list(String, 1, .{owned("net")}), .len = 1 },
        .metrics = .{ .ptr = list(MetricSpec, 3, .{
            spec("latency_ms", "ms", "the whole exchange"),
            spec("status", "1", "HTTP status code"),
            spec("size_bytes", "By", "size of the body"),
        }), .len = 3 },
    };
}

export fn exports_bellwether_plugin_probe_check(request: *Request, report: *Report, failure: *ProbeError) bool {
    report.* = .{};
    const parsed = std.json.parseFromSlice(Config, allocator, slice(request.config), .{}) catch |why| {
        failure.* = .{ .tag = contract.EXPORTS_BELLWETHER_PLUGIN_PROBE_PROBE_ERROR_CONFIG };
        failure.val.config = .{ .pointer = owned(""), .message = print("cannot be read: {t}", .{why}) };
        return false;
    };
    defer parsed.deinit();
    const config = parsed.value;

    var ask: contract.bellwether_plugin_net_http_request_t = .{
        .method = borrowed("GET"),
        .url = borrowed(config.url),
        .max_redirects = 10,
        .max_body = 1 << 20,
    };
    var answer: contract.bellwether_plugin_net_http_response_t = undefined;
    var why: NetError = undefined;
    if (!contract.bellwether_plugin_net_http(&ask, &answer, &why)) {
        defer why.free();
        return judgeFailure(why, report, failure);
    }
    defer answer.free();

    const status = answer.status;
    const size = answer.body.len;
    const body: []const u8 = if (size == 0) "" else answer.body.ptr[0..size];
    const ms = @as(f64, @floatFromInt(answer.timings.total)) / 1000.0;
    var state: State = .critical;
    if (status != config.status) {
        report.summary = print("HTTP {d}, expected {d}", .{ status, config.status });
    } else if (std.mem.find(u8, body, config.text) == null) {
        report.summary = print("HTTP {d}, but the body lacks \"{s}\"", .{ status, config.text });
    } else {
        report.summary = print("HTTP {d} in {d:.0} ms, {d} bytes", .{ status, ms, size });
        state = if (ms >= config.critical_ms) .critical else if (ms >= config.warn_ms) .warning else .ok;
    }
    report.state = @intFromEnum(state);
    report.metrics = .{ .ptr = list(Metric, 3, .{
        .{ .name = owned("latency_ms"), .value = ms },
        .{ .name = owned("status"), .value = @floatFromInt(status) },
        .{ .name = owned("size_bytes"), .value = @floatFromInt(size) },
    }), .len = 3 };
    return true;
}

/// What a failed exchange means. A target that is down is a critical report
/// (true); a missing grant and a wrong URL are errors (false): nothing was
/// judged.
fn judgeFailure(why: NetError, report: *Report, failure: *ProbeError) bool {
    const phases = [_][]const u8{ "resolve", "connect", "tls-handshake", "send", "first-byte", "receive" };
    report.state = @intFromEnum(State.critical);
    report.summary = switch (why.tag) {
        contract.BELLWETHER_PLUGIN_NET_ERROR_DENIED => {
            failure.* = .{ .tag = contract.EXPORTS_BELLWETHER_PLUGIN_PROBE_PROBE_ERROR_DENIED };
            failure.val.denied = owned(slice(why.val.denied));
            return false;
        },
        contract.BELLWETHER_PLUGIN_NET_ERROR_INVALID => {
            failure.* = .{ .tag = contract.EXPORTS_BELLWETHER_PLUGIN_PROBE_PROBE_ERROR_CONFIG };
            failure.val.config = .{ .pointer = owned("/url"), .message = owned(slice(why.val.invalid)) };
            return false;
        },
        contract.BELLWETHER_PLUGIN_NET_ERROR_TIMEOUT => print("timed out in {s}", .{phases[why.val.timeout]}),
        contract.BELLWETHER_PLUGIN_NET_ERROR_REFUSED => owned("connection refused"),
        contract.BELLWETHER_PLUGIN_NET_ERROR_RESOLVE => print("name does not resolve: {s}", .{slice(why.val.resolve)}),
        contract.BELLWETHER_PLUGIN_NET_ERROR_UNREACHABLE => print("unreachable: {s}", .{slice(why.val.@"unreachable")}),
        contract.BELLWETHER_PLUGIN_NET_ERROR_CLOSED => print("connection closed: {s}", .{slice(why.val.closed)}),
        contract.BELLWETHER_PLUGIN_NET_ERROR_TLS => print("TLS failed: {s}", .{slice(why.val.tls)}),
        contract.BELLWETHER_PLUGIN_NET_ERROR_PROTOCOL => print("protocol error: {s}", .{slice(why.val.protocol)}),
        else => print("answer larger than {d} bytes", .{why.val.too_large}),
    };
    return true;
}
