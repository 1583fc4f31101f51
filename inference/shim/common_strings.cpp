// The string helpers that llama.cpp's schema converter takes from common.cpp.
// Written here so that the rest of common/ (argument parsing, downloads, HTTP)
// stays out of the archive.
#include "common.h"

std::string string_join(const std::vector<std::string> & values, const std::string & separator) {
    std::string out;
    for (size_t i = 0; i < values.size(); i++) {
        if (i > 0) {
            out += separator;
        }
        out += values[i];
    }
    return out;
}

std::vector<std::string> string_split(const std::string & str, const std::string & delimiter) {
    std::vector<std::string> out;
    size_t from = 0;
    for (size_t at; (at = str.find(delimiter, from)) != std::string::npos;
         from = at + delimiter.size()) {
        out.push_back(str.substr(from, at - from));
    }
    out.push_back(str.substr(from));
    return out;
}

std::string string_repeat(const std::string & str, size_t n) {
    std::string out;
    out.reserve(str.size() * n);
    while (n-- > 0) {
        out += str;
    }
    return out;
}
