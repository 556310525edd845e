/* A log parser for lines like
 *
 *     2026-03-01T12:00:00Z ERROR payment failed order=17 shop=north
 *
 * time, level, message, and key=value words at the end. A line without time and
 * level is reported as unparsed; the engine keeps it as plain text.
 *
 * Text goes back as byte ranges of the batch: nothing is copied. Lists and
 * names that go back are freed by the generated code with free(). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log_parser_plugin.h"

typedef log_parser_plugin_string_t string_t;
typedef exports_bellwether_plugin_log_parser_batch_t batch_t;
typedef exports_bellwether_plugin_log_parser_records_t records_t;
typedef exports_bellwether_plugin_log_parser_entry_t entry_t;
typedef exports_bellwether_plugin_log_parser_field_t field_t;
typedef exports_bellwether_plugin_log_parser_parse_error_t parse_error_t;

static const char SCHEMA[] =
    "{\"$schema\": \"https://json-schema.org/draft/2020-12/schema\","
    "\"type\": \"object\", \"additionalProperties\": false, \"properties\": {}}";

/* Room for one more element of a list that grows by doubling. */
static void *grow(void *list, size_t length, size_t size) {
    if (length & (length - 1)) return list; /* grown at powers of two */
    void *larger = realloc(list, (length ? 2 * length : 1) * size);
    if (!larger) abort();
    return larger;
}
#define PUSH(list) \
    ((list).ptr = grow((list).ptr, (list).len, sizeof *(list).ptr), &(list).ptr[(list).len++])

void exports_bellwether_plugin_log_parser_describe(bellwether_plugin_types_manifest_t *manifest) {
    memset(manifest, 0, sizeof *manifest);
    log_parser_plugin_string_dup(&manifest->name, "app-log-c");
    log_parser_plugin_string_dup(&manifest->version, "0.1.0");
    log_parser_plugin_string_dup(&manifest->summary, "time, level, message, key=value");
    log_parser_plugin_string_dup(&manifest->config_schema, SCHEMA);
}

/* There is nothing to configure. */
bool exports_bellwether_plugin_log_parser_configure(string_t *config, parse_error_t *error) {
    (void)config, (void)error;
    return true;
}

/* Days from 1970-01-01 to a date of the Gregorian calendar. */
static int64_t days_from_civil(int64_t year, int month, int day) {
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400, year_of_era = year - era * 400;
    int64_t day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

/* RFC 3339 in microseconds since 1970; false where the word is no time. */
static bool read_time(const char *word, size_t length, int64_t *time) {
    char text[48] = {0};
    if (length < 20 || length >= sizeof text) return false;
    memcpy(text, word, length);
    int year, month, day, hour, minute, second, used = 0;
    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &year, &month, &day, &hour, &minute, &second, &used) != 6
        || used != 19 || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60)
        return false;
    const char *rest = text + used;
    int64_t micros = 0;
    if (*rest == '.')
        for (int64_t unit = 100000; *++rest >= '0' && *rest <= '9'; unit /= 10) micros += unit * (*rest - '0');
    int offset_hours = 0, offset_minutes = 0;
    if (*rest == '+' || *rest == '-') {
        if (sscanf(rest + 1, "%2d:%2d%n", &offset_hours, &offset_minutes, &used) != 2 || rest[1 + used]) return false;
    } else if (strcmp(rest, "Z") != 0) {
        return false;
    }
    int64_t offset = (offset_hours * 60 + offset_minutes) * (*rest == '-' ? -60 : 60);
    *time = ((days_from_civil(year, month, day) * 24 + hour) * 3600 + minute * 60 + second - offset) * 1000000 + micros;
    return true;
}

/* The level; unset where the word is none. */
static uint8_t read_level(const char *word, size_t length) {
    static const struct { const char *word; uint8_t level; } LEVELS[] = {
        {"TRACE", BELLWETHER_PLUGIN_TYPES_LEVEL_TRACE},   {"DEBUG", BELLWETHER_PLUGIN_TYPES_LEVEL_DEBUG},
        {"INFO", BELLWETHER_PLUGIN_TYPES_LEVEL_INFO},     {"NOTICE", BELLWETHER_PLUGIN_TYPES_LEVEL_NOTICE},
        {"WARN", BELLWETHER_PLUGIN_TYPES_LEVEL_WARNING},  {"WARNING", BELLWETHER_PLUGIN_TYPES_LEVEL_WARNING},
        {"ERROR", BELLWETHER_PLUGIN_TYPES_LEVEL_ERROR},   {"FATAL", BELLWETHER_PLUGIN_TYPES_LEVEL_CRITICAL},
        {"CRITICAL", BELLWETHER_PLUGIN_TYPES_LEVEL_CRITICAL},
    };
    for (size_t i = 0; i < sizeof LEVELS / sizeof *LEVELS; i++)
        if (strlen(LEVELS[i].word) == length && memcmp(LEVELS[i].word, word, length) == 0) return LEVELS[i].level;
    return BELLWETHER_PLUGIN_TYPES_LEVEL_UNSET;
}

/* The index of a field's name in the answer. */
static uint32_t name_index(records_t *records, const char *name, size_t length) {
    for (size_t i = 0; i < records->names.len; i++)
        if (records->names.ptr[i].len == length && memcmp(records->names.ptr[i].ptr, name, length) == 0)
            return (uint32_t)i;
    log_parser_plugin_string_dup_n(PUSH(records->names), name, length);
    return (uint32_t)records->names.len - 1;
}

/* False where the line does not begin with a time and a level. */
static bool read_line(const char *text, uint32_t start, uint32_t end, uint32_t number, records_t *records) {
    const char *line = text + start, *stop = text + end;
    const char *level = memchr(line, ' ', (size_t)(stop - line));
    const char *message = level ? memchr(level + 1, ' ', (size_t)(stop - level - 1)) : NULL;
    entry_t entry = {.line = number};
    if (!message || !read_time(line, (size_t)(level - line), &entry.time.val)) return false;
    entry.time.is_some = true;
    level++;
    entry.level = read_level(level, (size_t)(message - level));
    if (entry.level == BELLWETHER_PLUGIN_TYPES_LEVEL_UNSET) return false;
    message++;

    /* Words are taken from the end for as long as they are key=value. */
    const char *tail = stop;
    for (const char *p = stop; p > message; p--) {
        if (p[-1] != ' ') continue;
        if (!memchr(p, '=', (size_t)(tail - p))) break;
        tail = p - 1;
    }
    entry.message.start = (uint32_t)(message - text);
    entry.message.end = (uint32_t)(tail - text);
    for (const char *word = tail; word < stop;) {
        word++; /* the space before it */
        const char *next = memchr(word, ' ', (size_t)(stop - word));
        if (!next) next = stop;
        const char *equals = memchr(word, '=', (size_t)(next - word));
        field_t *field = PUSH(entry.fields);
        field->name = name_index(records, word, (size_t)(equals - word));
        field->value.start = (uint32_t)(equals + 1 - text);
        field->value.end = (uint32_t)(next - text);
        word = next;
    }
    *PUSH(records->entries) = entry;
    return true;
}

bool exports_bellwether_plugin_log_parser_parse(batch_t *batch, records_t *records, parse_error_t *error) {
    (void)error;
    memset(records, 0, sizeof *records);
    uint32_t start = 0;
    for (size_t i = 0; i < batch->ends.len; i++) {
        uint32_t end = batch->ends.ptr[i];
        if (start < end && !read_line((const char *)batch->text.ptr, start, end, (uint32_t)i, records))
            *PUSH(records->unparsed) = (uint32_t)i;
        start = end + batch->gap;
    }
    return true;
}

/* Nothing is held back between batches. */
bool exports_bellwether_plugin_log_parser_flush(records_t *records, parse_error_t *error) {
    (void)error;
    memset(records, 0, sizeof *records);
    return true;
}
