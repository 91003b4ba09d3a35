#include "net/http.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <exception>
#include <thread>
#include <utility>

#include "base/cancel.h"
#include "base/lower_case.h"
#include "net/curl.h"

namespace anemone {
namespace {

constexpr size_t kMaxBody = size_t{16} << 20;
constexpr size_t kMaxErrorBody = size_t{64} << 10;
constexpr size_t kMaxHeaders = size_t{256} << 10;
constexpr int kMaxRedirects = 10;
constexpr double kLongestRetry = 366 * 24 * 3600;  // of seconds that a server may ask to wait
constexpr int kAskMs = 100;                        // how often who waits asks whether to go on
// Of no bytes: the body of every request.
constexpr std::string_view kEmptySha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr std::string_view kCertificateHint = "SSL_CERT_FILE=FILE names the certificate authorities to trust";

std::string_view Trim(std::string_view text) {
  while (!text.empty() && std::string_view(" \t\r\n").find(text.front()) != std::string_view::npos)
    text.remove_prefix(1);
  while (!text.empty() && std::string_view(" \t\r\n").find(text.back()) != std::string_view::npos)
    text.remove_suffix(1);
  return text;
}

bool NamesNoHost(std::string_view location) {
  return location.find("://") > location.find_first_of("/?#") ||
         (location.find("://") == std::string_view::npos && !location.starts_with("//"));
}

// `location` as it stands in an answer to `base`.
std::string Absolute(const std::string& base, std::string_view location) {
  if (location.starts_with("//")) return base.substr(0, base.find("://") + 1) + std::string(location);
  if (!NamesNoHost(location)) return std::string(location);
  if (location.starts_with('/')) return HttpOrigin(base) + std::string(location);
  const std::string path = base.substr(0, base.find_first_of("?#"));
  return path.substr(0, path.rfind('/') + 1) + std::string(location);
}

Status WrongRedirect(const std::string& from, const std::string& to) {
  return Unavailable("expected a redirect to an http or https address, found one to '" + to + "'").In(HttpOrigin(from));
}

// Refuses content that is compressed although the request asks for it as it is; another try is of no use. Other values
// of the header, which object stores repeat as somebody stored them ("aws-chunked", "utf-8"), code nothing.
Status CheckCoding(const HttpResponse& response, bool* may_pass) {
  const std::string codings = LowerCase(response.Header("content-encoding"));
  for (const std::string_view name : {"gzip", "deflate", "br", "zstd", "compress"}) {
    if (codings.find(name) == codings.npos) continue;
    *may_pass = false;
    return Unavailable("expected content that is not compressed, found Content-Encoding: " + codings.substr(0, 100),
                       "the server or a proxy disregards Accept-Encoding: identity; download the file by other means")
        .In(HttpOrigin(response.url));
  }
  return {};
}

// curl takes a length that it cannot count as none, and waits for the end of a connection that stays open.
Status CheckLength(std::string_view length, bool* may_pass) {
  int64_t bytes = 0;
  if (std::from_chars(length.data(), length.data() + length.size(), bytes).ec != std::errc::result_out_of_range)
    return {};
  *may_pass = false;
  return Unavailable("expected a length in bytes, found Content-Length: " + std::string(length.substr(0, 100)));
}

}  // namespace

std::string_view HttpResponse::Header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return {};
}

// What libcurl's callbacks see of one request.
struct HttpClient::Transfer {
  HttpClient* client;
  const HttpSink* sink;
  HttpResponse response;
  size_t header_bytes = 0;
  bool* body_begun;
  Status status = {};              // why a callback stopped the transfer,
  std::exception_ptr thrown = {};  // or what it threw

  // No exception goes through libcurl, whose handle could not be used again.
  template <Status (Transfer::*take)(std::string_view)>
  static size_t Guarded(const char* data, size_t, size_t size, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    try {
      transfer.status = (transfer.*take)({data, size});
      return transfer.status.ok() ? size : 0;
    } catch (...) {
      transfer.thrown = std::current_exception();
      return 0;
    }
  }

  // Of the callbacks.
  Status Outcome() const {
    if (thrown) std::rethrow_exception(thrown);
    return status;
  }

  Status TakeHeader(std::string_view bytes) {
    const std::string_view line = Trim(bytes);
    client->received_ += static_cast<int64_t>(bytes.size());
    if (header_bytes += bytes.size(); header_bytes > kMaxHeaders)
      return Unavailable("expected at most 256 KiB of headers, found more");
    if (line.starts_with("HTTP/")) {
      response.headers.clear();  // of a proxy or of "100 Continue"
    } else if (const size_t colon = line.find(':'); colon != std::string_view::npos) {
      response.headers.emplace_back(LowerCase(line.substr(0, colon)), Trim(line.substr(colon + 1)));
      if (response.headers.back().first == "content-length")
        return CheckLength(response.headers.back().second, &client->may_pass_).In(HttpOrigin(response.url));
    }
    return {};
  }

  // Once, before the first byte of content.
  Status Begin() {
    ANEMONE_TRY(CheckCoding(response, &client->may_pass_));
    *body_begun = true;
    return sink->begin ? sink->begin(response) : Status();
  }

  Status TakeBody(std::string_view bytes) {
    client->received_ += static_cast<int64_t>(bytes.size());
    if (response.status == 0) {
      long code = 0;
      client->curl_->easy_getinfo(client->handle_, CURLINFO_RESPONSE_CODE, &code);
      response.status = static_cast<int>(code);
    }
    const bool good = response.status >= 200 && response.status < 300;
    if (good && sink != nullptr) {
      if (!*body_begun) ANEMONE_TRY(Begin());
      return sink->bytes(bytes);
    }
    if (!good) {
      response.body += bytes.substr(0, kMaxErrorBody - std::min(kMaxErrorBody, response.body.size()));
      return {};
    }
    if (response.body.size() + bytes.size() > kMaxBody)
      return LimitExceeded("expected an answer of at most 16 MiB, found more");
    response.body += bytes;
    return {};
  }
};

HttpClient::HttpClient(HttpOptions options) : options_(std::move(options)) {}

HttpClient::~HttpClient() {
  if (handle_ != nullptr) curl_->easy_cleanup(handle_);
  if (multi_ != nullptr) curl_->multi_cleanup(multi_);
}

int HttpClient::Run() {
  if (curl_->multi_add_handle(multi_, handle_) != CURLM_OK) return CURLE_FAILED_INIT;
  using Clock = std::chrono::steady_clock;
  const std::chrono::duration<double> stall(std::max(1.0, options_.stall_timeout_s));
  const auto enough = static_cast<int64_t>(stall.count() * static_cast<double>(options_.slowest_bytes_per_s));
  Clock::time_point since = Clock::now();
  int64_t received = received_ = 0;  // then
  std::optional<CURLcode> result;
  while (!result) {
    if (Clock::now() - since > stall) {
      if (received_ - received < enough) result = CURLE_OPERATION_TIMEDOUT;
      since = Clock::now();
      received = received_;
    }
    int running = 0, queued = 0;
    const bool works = curl_->multi_perform(multi_, &running) == CURLM_OK;
    const CURLMsg* const message = curl_->multi_info_read(multi_, &queued);
    if (message != nullptr && message->msg == CURLMSG_DONE) {
      result = message->data.result;
    } else if (result) {
      break;
    } else if (CancelRequested()) {
      result = CURLE_ABORTED_BY_CALLBACK;
    } else if (!works || curl_->multi_poll(multi_, nullptr, 0, kAskMs, nullptr) != CURLM_OK) {
      result = CURLE_OUT_OF_MEMORY;
    }
  }
  curl_->multi_remove_handle(multi_, handle_);
  return *result;
}

namespace {

// "0-" where all is asked for.
std::string RangeOf(const HttpRequest& request) {
  const bool has_end = request.range_end > request.range_start;
  return std::to_string(request.range_start) + "-" + (has_end ? std::to_string(request.range_end - 1) : "");
}

// What curl answers for a transfer; `words`: what it says. `may_pass` becomes false where another try is of no use.
Status StatusOf(CURLcode code, std::string_view words, const std::string& url, bool* may_pass) {
  if (code == CURLE_OK) return {};
  if (code == CURLE_ABORTED_BY_CALLBACK) return Interrupted();
  const std::string scheme = LowerCase(url.substr(0, url.find("://")));
  const bool is_http = scheme == "http" || scheme == "https";
  if (code == CURLE_URL_MALFORMAT || (code == CURLE_UNSUPPORTED_PROTOCOL && !is_http))
    return InvalidArgument("expected an http or https URL, found '" + url + "'");
  if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_WEIRD_SERVER_REPLY) {
    *may_pass = false;
    return Unavailable("expected an answer in HTTP, found something else").In(HttpOrigin(url));
  }
  if (code == CURLE_OUT_OF_MEMORY) {
    *may_pass = false;
    return Unavailable("out of memory, or a header of more than 100 KB").In(HttpOrigin(url));
  }
  if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE) {
    *may_pass = false;
    return Unavailable(std::string(words), std::string(kCertificateHint)).In(HttpOrigin(url));
  }
  return Unavailable(std::string(words)).In(HttpOrigin(url));
}

}  // namespace

Result<HttpResponse> HttpClient::Perform(const std::string& url, const HttpRequest& request, bool send_credentials,
                                         const HttpSink* sink, bool* body_begun) {
  if (handle_ == nullptr) {
    ANEMONE_ASSIGN(curl_, internal::LoadCurl());
    if (multi_ == nullptr) multi_ = curl_->multi_init();
    handle_ = curl_->easy_init();
    if (handle_ == nullptr || multi_ == nullptr) return OutOfMemory();
  }
  Transfer transfer{.client = this, .sink = sink, .response = {}, .body_begun = body_begun};
  transfer.response.url = url;
  curl_->easy_reset(handle_);  // keeps connections
  const auto set = [this](CURLoption option, auto value) { curl_->easy_setopt(handle_, option, value); };
  set(CURLOPT_URL, url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_QUICK_EXIT, 1L);  // a name that is still being resolved is not waited for
  set(CURLOPT_NOBODY, request.method == HttpRequest::Method::kHead ? 1L : 0L);
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options_.connect_timeout_s * 1000));
  set(CURLOPT_LOW_SPEED_LIMIT, static_cast<long>(options_.slowest_bytes_per_s));
  set(CURLOPT_LOW_SPEED_TIME, std::max(1L, static_cast<long>(options_.stall_timeout_s)));
  if (sink == nullptr) set(CURLOPT_TIMEOUT_MS, static_cast<long>(options_.answer_timeout_s * 1000));
  set(CURLOPT_USERAGENT, options_.user_agent.c_str());
  set(CURLOPT_BUFFERSIZE, 512L << 10);
  if (!options_.ca_file.empty()) set(CURLOPT_CAINFO, options_.ca_file.c_str());
  set(CURLOPT_HEADERFUNCTION, &Transfer::Guarded<&Transfer::TakeHeader>);
  set(CURLOPT_HEADERDATA, &transfer);
  set(CURLOPT_WRITEFUNCTION, &Transfer::Guarded<&Transfer::TakeBody>);
  set(CURLOPT_WRITEDATA, &transfer);
  char words[CURL_ERROR_SIZE] = "";
  set(CURLOPT_ERRORBUFFER, &words[0]);

  const std::string range = RangeOf(request);
  if (range != "0-") set(CURLOPT_RANGE, range.c_str());
  curl_slist* list = curl_->slist_append(nullptr, "Accept-Encoding: identity");
  const auto add = [&](const std::string& header) { list = curl_->slist_append(list, header.c_str()); };
  if (!request.if_range.empty()) add("If-Range: " + request.if_range);
  if (send_credentials && !request.bearer_token.empty()) add("Authorization: Bearer " + request.bearer_token);
  if (send_credentials && request.signature) {
    const HttpSignature& signature = *request.signature;
    set(CURLOPT_AWS_SIGV4, signature.scope.c_str());
    set(CURLOPT_USERNAME, signature.key_id.c_str());
    set(CURLOPT_PASSWORD, signature.secret.c_str());
    add("x-amz-content-sha256: " + std::string(kEmptySha256));
    if (!signature.session_token.empty()) add("x-amz-security-token: " + signature.session_token);
  }
  set(CURLOPT_HTTPHEADER, list);
  const auto code = static_cast<CURLcode>(Run());
  long status = 0;
  curl_->easy_getinfo(handle_, CURLINFO_RESPONSE_CODE, &status);
  curl_->slist_free_all(list);
  curl_->easy_setopt(handle_, CURLOPT_ERRORBUFFER, nullptr);
  transfer.response.status = static_cast<int>(status);

  ANEMONE_TRY(transfer.Outcome());
  ANEMONE_TRY(StatusOf(code, words[0] != 0 ? words : curl_->easy_strerror(code), url, &may_pass_));
  const bool is_good = status >= 200 && status < 300;
  if (is_good) ANEMONE_TRY(CheckCoding(transfer.response, &may_pass_));
  // An empty body never called TakeBody.
  const bool is_empty = is_good && sink != nullptr && !*body_begun && request.method == HttpRequest::Method::kGet;
  if (is_empty) ANEMONE_TRY(transfer.Begin());
  return std::move(transfer.response);
}

Result<HttpResponse> HttpClient::SendOnce(const HttpRequest& request, const HttpSink* sink, bool* body_begun) {
  std::string url = request.url, from;
  const std::string origin = HttpOrigin(url);
  for (int hop = 0; hop <= kMaxRedirects; ++hop) {
    Result<HttpResponse> performed = Perform(url, request, HttpOrigin(url) == origin, sink, body_begun);
    if (hop > 0 && !performed.ok() && performed.status().kind() == ErrorKind::kInvalidArgument && !*body_begun) {
      may_pass_ = false;
      return WrongRedirect(from, url);
    }
    ANEMONE_ASSIGN(HttpResponse response, std::move(performed));
    const std::string_view location = response.Header("location");
    const bool redirect =
        response.status >= 301 && response.status <= 308 && response.status != 304 && !location.empty();
    if (!redirect || (request.redirects == HttpRequest::Redirects::kRelative && !NamesNoHost(location)))
      return response;
    std::string next = Absolute(url, location);
    if (!next.starts_with("https://") && !next.starts_with("http://")) {
      may_pass_ = false;
      return WrongRedirect(url, next);
    }
    if (url.starts_with("https://") && next.starts_with("http://")) {
      may_pass_ = false;
      return Unavailable("expected a redirect that stays on https, found one to " + HttpOrigin(next))
          .In(HttpOrigin(url));
    }
    from = std::exchange(url, std::move(next));
  }
  may_pass_ = false;
  return Unavailable("expected at most 10 redirects, found more").In(origin);
}

Status HttpClient::Wait(double seconds) const {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point end = Clock::now() + std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
  while (Clock::now() < end) {
    if (CancelRequested()) return Interrupted();
    std::this_thread::sleep_until(std::min(end, Clock::now() + std::chrono::milliseconds(50)));
  }
  return {};
}

Result<HttpResponse> HttpClient::Send(const HttpRequest& request, const HttpSink* sink) {
  double wait = options_.first_wait_s;
  for (int attempt = 1;; ++attempt) {
    bool body_begun = false;
    may_pass_ = true;
    Result<HttpResponse> response = SendOnce(request, sink, &body_begun);
    double pause = wait;
    if (response.ok()) {
      if (response->status != 429 && response->status < 500) return response;
      if (const std::optional<double> asked = RetryAfter(*response)) pause = *asked;
    } else if (body_begun || response.status().kind() != ErrorKind::kUnavailable || !may_pass_) {
      return response;
    }
    if (attempt >= options_.attempts || pause > options_.longest_wait_s) return response;
    ANEMONE_TRY(Wait(pause));
    wait = std::min(wait * 2, options_.longest_wait_s);
  }
}

std::optional<double> RetryAfter(const HttpResponse& response) {
  std::string_view text = response.Header("retry-after");
  if (text.empty()) {
    const std::string_view limits = response.Header("ratelimit");
    const size_t at = limits.find(";t=");
    if (at == std::string_view::npos) return std::nullopt;
    text = limits.substr(at + 3);
  }
  double seconds = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), seconds).ec == std::errc())
    return std::isfinite(seconds) && seconds >= 0 ? std::optional(std::min(seconds, kLongestRetry)) : std::nullopt;
  const Result<const internal::Curl*> curl = internal::LoadCurl();
  if (!curl.ok()) return std::nullopt;
  const time_t when = (*curl)->getdate(std::string(text).c_str(), nullptr);  // the other form: a date
  if (when < 0) return std::nullopt;
  return std::clamp(std::difftime(when, time(nullptr)), 0.0, kLongestRetry);
}

std::string HttpOrigin(std::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string_view::npos) return "";
  const std::string_view host = url.substr(scheme + 3, url.find_first_of("/?#", scheme + 3) - scheme - 3);
  return LowerCase(url.substr(0, scheme + 3)) + LowerCase(host.substr(host.rfind('@') + 1));
}

std::optional<ContentRange> ParseContentRange(std::string_view header) {
  constexpr std::string_view kUnit = "bytes ";
  if (!header.starts_with(kUnit)) return std::nullopt;
  header.remove_prefix(kUnit.size());
  const auto number = [&header](char behind, uint64_t* value) {
    const auto [end, error] = std::from_chars(header.data(), header.data() + header.size(), *value);
    const auto digits = static_cast<size_t>(end - header.data());
    const bool ends = behind == 0 ? digits == header.size() : digits < header.size() && header[digits] == behind;
    if (error != std::errc() || !ends) return false;
    header.remove_prefix(digits + (behind == 0 ? 0 : 1));
    return true;
  };
  ContentRange range;
  if (header.starts_with("*/")) {
    header.remove_prefix(2);
    return number(0, &range.size) ? std::optional(range) : std::nullopt;
  }
  if (!number('-', &range.begin) || !number('/', &range.end) || !number(0, &range.size)) return std::nullopt;
  if (range.begin > range.end || range.end >= range.size) return std::nullopt;
  ++range.end;
  return range;
}

std::string UrlEncode(std::string_view text, std::string_view keep) {
  std::string out;
  for (const char c : text) {
    const bool unreserved = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                            std::string_view("-._~").find(c) != std::string_view::npos ||
                            keep.find(c) != std::string_view::npos;
    if (unreserved) {
      out += c;
    } else {
      out += {'%', "0123456789ABCDEF"[static_cast<unsigned char>(c) >> 4], "0123456789ABCDEF"[c & 0xF]};
    }
  }
  return out;
}

}  // namespace anemone
