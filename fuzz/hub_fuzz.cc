// A hub that says anything: each file `answer…` is what the server sends to the next request, byte for byte (`@PORT@`
// is its own port); the others lie in the cache beforehand. A model is fetched or the error says why not, within the
// time that the caller gives.
#include "folder.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <mutex>
#include <thread>

#include "net/hub.h"

namespace {

// Serves on the loopback until the process ends.
class Server {
 public:
  Server() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(socket_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(socket_, 16) != 0 ||
        ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
      std::abort();
    port_ = std::to_string(ntohs(address.sin_port));
    std::thread([this] { Serve(); }).detach();
  }
  const std::string& port() const { return port_; }

  void Set(std::vector<std::string> answers) {
    const std::lock_guard lock(mutex_);
    answers_ = std::move(answers);
    next_ = 0;
  }

 private:
  std::string NextAnswer() {
    const std::lock_guard lock(mutex_);
    if (next_ < answers_.size()) return answers_[next_++];
    return "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
  }

  void Serve() {
    for (;;) {
      const int client = ::accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0) continue;
      std::string request;
      char part[4096];
      while (request.find("\r\n\r\n") == request.npos) {
        const ssize_t got = ::recv(client, part, sizeof part, 0);
        if (got <= 0) break;
        request.append(part, static_cast<size_t>(got));
      }
      const std::string answer = NextAnswer();
      static_cast<void>(::send(client, answer.data(), answer.size(), MSG_NOSIGNAL));
      ::shutdown(client, SHUT_WR);
      ::close(client);
    }
  }

  const int socket_;
  std::string port_;
  std::mutex mutex_;
  std::vector<std::string> answers_;
  size_t next_ = 0;
};

std::string WithPort(std::string text, const std::string& port) {
  constexpr std::string_view kPlace = "@PORT@";
  for (size_t at = text.find(kPlace); at != text.npos; at = text.find(kPlace, at + port.size()))
    text.replace(at, kPlace.size(), port);
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace anemone;
  static Server& server = *new Server;  // NOLINT: its thread outlives main
  std::vector<fuzz::File> cached;
  std::vector<std::string> answers;
  for (fuzz::File& file : fuzz::FilesOf(data, size)) {
    if (file.name.starts_with("answer")) {
      answers.push_back(WithPort(std::move(file.content), server.port()));
    } else {
      cached.push_back(std::move(file));
    }
  }
  const fuzz::FuzzFolder cache(cached);
  server.Set(std::move(answers));
  HubOptions options;
  options.endpoint = "http://127.0.0.1:" + server.port();
  options.cache_dir = cache.path();
  options.timeout_s = 0.2;
  options.stall_timeout_s = 0.2;
  options.first_wait_s = 0;
  using Clock = std::chrono::steady_clock;
  const Clock::time_point end = Clock::now() + std::chrono::milliseconds(300);
  const auto progress = [end](std::string_view, uint64_t, uint64_t) { return Clock::now() < end; };
  const Result<std::string> path = FetchModel("org/name", "main", options, progress);
  fuzz::Expect(path.status());
  if (path.ok() && !path->starts_with(cache.path())) std::abort();
  return 0;
}
