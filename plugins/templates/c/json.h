/* Reads the members of one flat JSON object: enough for a configuration, which
 * the engine has checked against the plugin's schema before it comes here. */
#ifndef JSON_H
#define JSON_H

#include <stdlib.h>
#include <string.h>

/* Behind the string that begins at p (its opening quote). */
static const char *json_skip_string(const char *p, const char *end) {
    for (p++; p < end && *p != '"'; p++)
        if (*p == '\\') p++;
    return p < end ? p + 1 : end;
}

/* Behind the value that begins at p: at the comma or bracket that ends it. */
static const char *json_skip_value(const char *p, const char *end) {
    int depth = 0;
    while (p < end) {
        if (*p == '"') {
            p = json_skip_string(p, end);
            continue;
        }
        if (*p == '{' || *p == '[') depth++;
        if (depth == 0 && (*p == ',' || *p == '}' || *p == ']')) break;
        if (*p == '}' || *p == ']') depth--;
        p++;
    }
    return p;
}

static const char *json_skip_space(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) p++;
    return p;
}

/* Where the value of a key begins; NULL where the object has no such key. */
static const char *json_find(const char *p, const char *end, const char *key) {
    size_t length = strlen(key);
    p = json_skip_space(p, end);
    if (p >= end || *p != '{') return NULL;
    while (p < end && *p != '}') {
        const char *name = json_skip_space(p + 1, end);
        if (name >= end || *name != '"') return NULL;
        const char *after = json_skip_string(name, end);
        const char *value = json_skip_space(after, end);
        if (value >= end || *value != ':') return NULL;
        value = json_skip_space(value + 1, end);
        if ((size_t)(after - name) == length + 2 && memcmp(name + 1, key, length) == 0)
            return value;
        p = json_skip_value(value, end);
    }
    return NULL;
}

/* Four hexadecimal digits; 0 where there are none. */
static unsigned json_hex(const char *p, const char *end) {
    char digits[5] = {0};
    if (end - p < 4) return 0;
    memcpy(digits, p, 4);
    return (unsigned)strtoul(digits, NULL, 16);
}

static char *json_put_utf8(char *out, unsigned c) {
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xc0 | c >> 6);
        *out++ = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        *out++ = (char)(0xe0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 63));
        *out++ = (char)(0x80 | (c & 63));
    } else {
        *out++ = (char)(0xf0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 63));
        *out++ = (char)(0x80 | (c >> 6 & 63));
        *out++ = (char)(0x80 | (c & 63));
    }
    return out;
}

/* A text member as a new NUL-terminated string; NULL where it is missing or is
 * no text. The caller frees it. */
static char *json_text(const char *p, const char *end, const char *key) {
    p = json_find(p, end, key);
    if (!p || *p != '"') return NULL;
    const char *close = json_skip_string(p, end) - 1;
    char *text = malloc((size_t)(close - p) + 1), *out = text;
    if (!text) abort();
    for (p++; p < close; p++) {
        if (*p != '\\') {
            *out++ = *p;
            continue;
        }
        switch (*++p) {
        case 'b': *out++ = '\b'; break;
        case 'f': *out++ = '\f'; break;
        case 'n': *out++ = '\n'; break;
        case 'r': *out++ = '\r'; break;
        case 't': *out++ = '\t'; break;
        case 'u': {
            unsigned c = json_hex(p + 1, close);
            p += 4;
            /* A pair of surrogates is one character. */
            if (c >= 0xd800 && c < 0xdc00 && close - p > 6) {
                c = 0x10000 + ((c - 0xd800) << 10) + (json_hex(p + 3, close) - 0xdc00);
                p += 6;
            }
            out = json_put_utf8(out, c);
            break;
        }
        default: *out++ = *p;
        }
    }
    *out = '\0';
    return text;
}

/* A number; the fallback where it is missing. */
static double json_number(const char *p, const char *end, const char *key, double fallback) {
    p = json_find(p, end, key);
    if (!p || *p == '"') return fallback;
    char digits[32] = {0};
    size_t length = (size_t)(json_skip_value(p, end) - p);
    memcpy(digits, p, length < sizeof digits - 1 ? length : sizeof digits - 1);
    return strtod(digits, NULL);
}

#endif
