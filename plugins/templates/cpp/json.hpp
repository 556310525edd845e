// Reads one flat JSON object: enough for a configuration, which the engine has
// checked against the plugin's schema before it comes here.
#pragma once

#include <cstdlib>
#include <map>
#include <string>
#include <string_view>

class FlatJson {
public:
    explicit FlatJson(std::string_view json) : json_(json) {
        skip('{');
        while (at_ < json_.size() && peek() != '}') {
            std::string key = text();
            skip(':');
            members_[key] = peek() == '"' ? text() : word();
            skip(',');
        }
    }

    std::string string(const std::string& key, std::string fallback = "") const {
        auto found = members_.find(key);
        return found == members_.end() ? fallback : found->second;
    }

    double number(const std::string& key, double fallback) const {
        auto found = members_.find(key);
        return found == members_.end() ? fallback : std::strtod(found->second.c_str(), nullptr);
    }

private:
    // The next character that is no space; NUL at the end.
    char peek() {
        while (at_ < json_.size() && json_[at_] > 0 && json_[at_] <= ' ') at_++;
        return at_ < json_.size() ? json_[at_] : '\0';
    }

    void skip(char character) {
        if (peek() == character) at_++;
    }

    // A number, true, false or null.
    std::string word() {
        size_t end = json_.find_first_of(",} \n\r\t", at_);
        std::string_view found = json_.substr(at_, end - at_);
        at_ += found.size();
        return std::string(found);
    }

    unsigned hex() {
        std::string digits(json_.substr(at_, 4));
        at_ += digits.size();
        return static_cast<unsigned>(std::strtoul(digits.c_str(), nullptr, 16));
    }

    std::string text() {
        skip('"');
        std::string out;
        while (at_ < json_.size() && json_[at_] != '"') {
            if (json_[at_] != '\\' || at_ + 1 == json_.size()) {
                out += json_[at_++];
                continue;
            }
            char escaped = json_[at_ + 1];
            at_ += 2;
            switch (escaped) {
            case 'b': out += '\b'; break;
            case 'f': out += '\f'; break;
            case 'n': out += '\n'; break;
            case 'r': out += '\r'; break;
            case 't': out += '\t'; break;
            case 'u': {
                unsigned code = hex();
                // A pair of surrogates is one character.
                if (code >= 0xd800 && code < 0xdc00 && json_.substr(at_, 2) == "\\u") {
                    at_ += 2;
                    code = 0x10000 + ((code - 0xd800) << 10) + (hex() - 0xdc00);
                }
                append_utf8(out, code);
                break;
            }
            default: out += escaped;
            }
        }
        skip('"');
        return out;
    }

    static void append_utf8(std::string& out, unsigned code) {
        auto tail = [&](int shift) { out += static_cast<char>(0x80 | (code >> shift & 63)); };
        if (code < 0x80) {
            out += static_cast<char>(code);
        } else if (code < 0x800) {
            out += static_cast<char>(0xc0 | code >> 6);
            tail(0);
        } else if (code < 0x10000) {
            out += static_cast<char>(0xe0 | code >> 12);
            tail(6), tail(0);
        } else {
            out += static_cast<char>(0xf0 | code >> 18);
            tail(12), tail(6), tail(0);
        }
    }

    std::string_view json_;
    size_t at_ = 0;
    std::map<std::string, std::string> members_;
};
