// HTTP GET and HEAD over libcurl: redirects under our own rules, retries with back-off, ranges, bodies streamed.
//
// Whoever waits asks CancelRequested (base/cancel.h). TLS is verified; proxies come from the usual environment
// variables, which libcurl reads. Nothing here knows of models or of the hub.
#ifndef ANEMONE_NET_HTTP_H_
#define ANEMONE_NET_HTTP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "anemone/status.h"

namespace anemone {

namespace internal {
struct Curl;
}  // namespace internal

// A server that does not answer, or otherwise than asked.
inline Status Unavailable(std::string what, std::string hint = {}) {
  return {ErrorKind::kUnavailable, std::move(what), std::move(hint)};
}

// Credentials that sign requests by AWS's Signature Version 4.
struct HttpSignature {
  std::string scope;  // as CURLOPT_AWS_SIGV4 has it: "aws:amz:REGION:s3"
  std::string key_id;
  std::string secret;
  std::string session_token = {};
};

struct HttpRequest {
  enum class Method : uint8_t { kGet, kHead };
  // kRelative follows only redirects that stay on the host by naming no host; an answer with another Location is
  // returned.
  enum class Redirects : uint8_t { kRelative, kAll };
  std::string url = {};  // http or https
  Method method = Method::kGet;
  Redirects redirects = Redirects::kAll;
  std::string bearer_token = {};  // sent to the host of `url` only: dropped when a redirect leads to another one
  std::optional<HttpSignature> signature = {};  // signs for the host of `url` only, likewise
  uint64_t range_start = 0;                     // above 0: asks for the bytes from there on; see `status` 206
  uint64_t range_end = 0;                       // above `range_start`: asks for the bytes up to there
  std::string if_range = {};                    // the strong ETag that a range must be of; of another, all is sent
};

struct HttpResponse {
  int status = 0;
  std::string url;                                           // the last one asked
  std::vector<std::pair<std::string, std::string>> headers;  // of the last answer; names in lower case
  std::string body;  // kept here when no sink took it: at most 16 MiB, for an answer other than 2xx 64 KiB

  // The value of a header by its lower-case name, empty when absent.
  std::string_view Header(std::string_view name) const;
};

// Takes the body of a 2xx answer. A failed status stops the transfer and is returned by Send.
struct HttpSink {
  std::function<Status(const HttpResponse& head)> begin;  // before the first byte
  std::function<Status(std::string_view bytes)> bytes;
};

struct HttpOptions {
  double connect_timeout_s = 10;
  double stall_timeout_s = 30;  // slower than `slowest_bytes_per_s` for this long, the transfer has failed
  int64_t slowest_bytes_per_s = 1024;
  double answer_timeout_s = 120;  // for a whole answer that no sink takes
  int attempts = 5;               // for connection failures, 5xx and 429
  double first_wait_s = 1;        // doubled each time
  double longest_wait_s = 60;     // a server that asks for more (Retry-After) is not waited for
  std::string user_agent = "anemone";
  std::string ca_file = {};  // empty: the system's
};

// Threads: one client per thread; clients share nothing.
class HttpClient {
 public:
  explicit HttpClient(HttpOptions options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // The server's answer, whatever its status. A request is repeated only while its body has not begun: a transfer that
  // breaks later fails with Unavailable and may be resumed by `range_start`.
  // Errors: Unavailable (no connection, TLS, time-out, broken transfer, too many redirects), InvalidArgument (URL),
  // LimitExceeded (a body without a sink above 16 MiB), Interrupted, and those of the sink.
  Result<HttpResponse> Send(const HttpRequest& request, const HttpSink* sink = nullptr);
  // Whether the failure that Send answered last may pass by itself; a loop of redirects, one that leaves https, an
  // untrusted certificate and an answer that is no HTTP do not.
  bool may_pass() const { return may_pass_; }
  // Sleeps; Interrupted when cancelled meanwhile.
  Status Wait(double seconds) const;

 private:
  struct Transfer;
  // As curl_easy_perform, but CURLE_ABORTED_BY_CALLBACK soon after a cancel is requested. CURLE_OPERATION_TIMEDOUT also
  // where bytes come that are of no header and no body.
  int Run();
  Result<HttpResponse> SendOnce(const HttpRequest& request, const HttpSink* sink, bool* body_begun);
  Result<HttpResponse> Perform(const std::string& url, const HttpRequest& request, bool send_credentials,
                               const HttpSink* sink, bool* body_begun);

  HttpOptions options_;
  const internal::Curl* curl_ = nullptr;  // loaded by the first request
  void* handle_ = nullptr;                // CURL*
  void* multi_ = nullptr;                 // CURLM*: connections are kept between requests
  bool may_pass_ = true;
  int64_t received_ = 0;  // bytes of headers and body, by the request under way
};

// How long a 429 or 503 asks to wait, in seconds: Retry-After, or `t=` of the `ratelimit` header.
std::optional<double> RetryAfter(const HttpResponse& response);
// "https://host:port" of an absolute URL, in lower case and without a user's name; empty for anything else.
std::string HttpOrigin(std::string_view url);

// What a Content-Range header says of an answer 206 or 416 [RFC 9110, 14.4].
struct ContentRange {
  uint64_t begin = 0, end = 0;  // both 0 in "bytes */SIZE"
  uint64_t size = 0;            // of the whole file
};
// nullopt for anything else, a size that is not said ("*") included.
std::optional<ContentRange> ParseContentRange(std::string_view header);

// Percent-encodes everything but unreserved characters and those in `keep`.
std::string UrlEncode(std::string_view text, std::string_view keep = "");

}  // namespace anemone

#endif  // ANEMONE_NET_HTTP_H_
