#include "net/hub_options.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "base/lower_case.h"

namespace anemone {
namespace {

std::string Env(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string ExpandUser(std::string path) {
  if (path == "~" || path.starts_with("~/")) return Env("HOME") + path.substr(1);
  return path;
}

std::string Strip(std::string text) {
  std::erase_if(text, [](char c) { return c == '\n' || c == '\r'; });
  const size_t first = text.find_first_not_of(" \t");
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

double Number(const std::string& text, double otherwise) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && value > 0 ? value : otherwise;
}

}  // namespace

bool IsTrueInEnvironment(const char* name) {
  const std::string value = LowerCase(Env(name));
  return value == "1" || value == "on" || value == "yes" || value == "true";
}

HubOptions HubOptions::FromEnvironment() {
  HubOptions options;
  if (std::string endpoint = Strip(Env("HF_ENDPOINT")); !endpoint.empty()) {
    while (endpoint.ends_with('/')) endpoint.pop_back();
    options.endpoint = std::move(endpoint);
  }
  std::string home = ExpandUser(Env("HF_HOME"));
  if (home.empty()) {
    const std::string xdg = ExpandUser(Env("XDG_CACHE_HOME"));
    home = (xdg.empty() ? Env("HOME") + "/.cache" : xdg) + "/huggingface";
  }
  options.cache_dir = ExpandUser(Env("HF_HUB_CACHE"));
  if (options.cache_dir.empty()) options.cache_dir = ExpandUser(Env("HUGGINGFACE_HUB_CACHE"));
  if (options.cache_dir.empty()) options.cache_dir = home + "/hub";
  if (!IsTrueInEnvironment("HF_HUB_DISABLE_IMPLICIT_TOKEN")) {
    options.token = Strip(Env("HF_TOKEN"));
    if (options.token.empty()) options.token = Strip(Env("HUGGING_FACE_HUB_TOKEN"));
    if (options.token.empty()) {
      const std::string path = ExpandUser(Env("HF_TOKEN_PATH"));
      std::ifstream file(path.empty() ? home + "/token" : path);
      options.token = Strip(std::string((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>()));
    }
  }
  options.offline = IsTrueInEnvironment("HF_HUB_OFFLINE") || IsTrueInEnvironment("TRANSFORMERS_OFFLINE");
  options.symlinks = !IsTrueInEnvironment("HF_HUB_DISABLE_SYMLINKS");
  options.timeout_s = Number(Env("HF_HUB_ETAG_TIMEOUT"), options.timeout_s);
  options.stall_timeout_s = std::max(Number(Env("HF_HUB_DOWNLOAD_TIMEOUT"), 0), options.stall_timeout_s);
  for (const char* name : {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"}) {
    if (options.ca_file.empty()) options.ca_file = Env(name);
  }
  if (const std::string origin = Env("HF_HUB_USER_AGENT_ORIGIN"); !origin.empty())
    options.user_agent += "; origin/" + origin;
  return options;
}

HttpOptions HubOptions::Http() const {
  return {.connect_timeout_s = timeout_s,
          .stall_timeout_s = stall_timeout_s,
          .first_wait_s = first_wait_s,
          .user_agent = user_agent,
          .ca_file = ca_file};
}

}  // namespace anemone
