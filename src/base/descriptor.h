// Descriptor: an open file, closed when this goes.
#ifndef ANEMONE_BASE_DESCRIPTOR_H_
#define ANEMONE_BASE_DESCRIPTOR_H_

#include <utility>

#include "base/sys.h"

namespace anemone {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}  // -1: none
  ~Descriptor() { Close(); }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }

  bool is_open() const { return fd_ >= 0; }
  int get() const { return fd_; }
  // As close(2); 0 where nothing is open.
  int Close() { return is_open() ? sys.close(std::exchange(fd_, -1)) : 0; }

 private:
  int fd_ = -1;
};

}  // namespace anemone

#endif  // ANEMONE_BASE_DESCRIPTOR_H_
