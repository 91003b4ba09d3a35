#include "edit/in_place.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <string_view>
#include <variant>

#include "anemone/bytes.h"
#include "base/descriptor.h"
#include "base/nearest.h"
#include "base/read_at_most.h"
#include "base/rounding.h"
#include "base/shell_word.h"
#include "base/sys.h"
#include "container/tar.h"
#include "container/tar_layout.h"
#include "engine/plan.h"

namespace anemone {
namespace {

constexpr uint64_t kBlock = 512, kRecord = 10240;
constexpr uint64_t kMostReplaced = uint64_t{1} << 20;  // bytes of replaced members that are carried along
constexpr uint64_t kMostAppended = uint64_t{64} << 20;

// Where the archive's next member begins, and how many bytes of it are of members that a later one replaces.
struct Tail {
  uint64_t begin = 0;
  uint64_t replaced = 0;
};

Result<Tail> FindTail(const std::string& path) {
  ANEMONE_ASSIGN(ByteSourcePtr file, OpenGivenFile(path));
  std::string head(std::min<uint64_t>(file->size_bytes(), kBlock), '\0');
  ANEMONE_TRY(file->ReadAt(0, std::as_writable_bytes(std::span(head))));
  if (!LooksLikeTar(head)) return Unsupported("expected a tar, found another file").In(path);
  const ByteRange archive = Whole(std::move(file));
  ANEMONE_ASSIGN(const std::vector<TarMember> members, ReadTar(archive));
  Tail tail;
  for (const TarMember& member : members) tail.replaced += member.is_replaced ? member.content.size : 0;
  ANEMONE_ASSIGN(tail.begin, TarEnd(archive));
  return tail;
}

uint64_t SizeOf(const NewMembers& members) {
  uint64_t size = 0;
  for (const auto& [name, content] : members) size += content.size();
  return size;
}

// The members as they are appended: headers, contents, padding.
Result<std::string> TailBytes(const NewMembers& members) {
  PlanFile file;
  for (const auto& [name, content] : members) {
    ANEMONE_TRY(AppendTarHeader(file, name, content.size()));
    file.Append(content);
    PadTarMember(file);
  }
  std::string bytes(file.size, '\0');
  for (const Segment& segment : file.segments) {
    const auto literal = std::get<std::string_view>(segment.content);
    std::ranges::copy(literal, bytes.begin() + static_cast<ptrdiff_t>(segment.offset));
  }
  return bytes;
}

bool Write(int fd, std::string_view bytes, uint64_t offset) {
  return WriteAll(fd, std::as_bytes(std::span(bytes)), offset);
}

Status Append(const std::string& path, const NewMembers& members, const Place& place) {
  ANEMONE_ASSIGN(const std::string bytes, TailBytes(members));
  const Descriptor file(sys.open(path.c_str(), O_RDWR | O_CLOEXEC, 0));
  if (!file.is_open()) {
    const bool is_refused = errno == EACCES || errno == EPERM || errno == EROFS || errno == ETXTBSY;
    const Status status = ErrnoStatus(errno, "cannot open for writing");
    return is_refused ? status.As(ErrorKind::kCannotCreate) : status;
  }
  if (sys.flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    if (error == EWOULDBLOCK)
      return {ErrorKind::kCannotCreate, "another run is writing it", "wait until that run has ended"};
    const Status status = ErrnoStatus(error, "cannot lock");
    return error == EIO ? status : status.As(ErrorKind::kCannotCreate);
  }
  ANEMONE_ASSIGN(const Tail tail, FindTail(path));  // now that nobody else moves it
  struct stat info;
  if (sys.fstat(file.get(), &info) != 0) return ErrnoStatus(errno, "cannot stat");
  if (Place{info.st_ino, tail.begin, tail.replaced} != place)
    return {ErrorKind::kCannotCreate, "another run has changed it meanwhile", "edit it again"};
  const auto old_size = static_cast<uint64_t>(info.st_size);
  const uint64_t end = tail.begin + bytes.size() + 2 * kBlock;
  const uint64_t new_size = std::max(old_size, RoundUp(end, kRecord));

  // All but the first block, which still is the end marker, and a new end marker.
  const std::string rest = bytes.substr(kBlock) + std::string(new_size - tail.begin - bytes.size(), '\0');
  const bool is_written = (old_size == new_size || sys.ftruncate(file.get(), static_cast<off_t>(new_size)) == 0) &&
                          Write(file.get(), rest, tail.begin + kBlock) && sys.fsync(file.get()) == 0 &&
                          Write(file.get(), std::string_view(bytes).substr(0, kBlock), tail.begin);
  const int error = errno;
  if (is_written && sys.fsync(file.get()) != 0)
    return ErrnoStatus(errno, "cannot sync").Hint("the edit is in place; a power failure may undo it");
  if (is_written) return {};
  // As it was: zeros from the end marker on. A disk without room to write there can cut and grow the file.
  const bool is_restored = sys.ftruncate(file.get(), static_cast<off_t>(tail.begin)) == 0 &&
                           sys.ftruncate(file.get(), static_cast<off_t>(old_size)) == 0;
  Status status = ErrnoStatus(error, "cannot write");
  if (is_restored) return status;
  return status.Hint("its end may be damaged; truncate -s " + std::to_string(tail.begin) + " " + ShellWord(path) +
                     " cuts off what this edit wrote");
}

}  // namespace

Result<std::optional<Place>> PlaceOf(const std::string& archive) {
  struct stat info;
  const Result<Tail> tail = FindTail(archive);
  if (IsReadFailure(tail.status())) return tail.status();
  if (!tail.ok()) return std::optional<Place>();
  if (sys.stat(archive.c_str(), &info) != 0) return ErrnoStatus(errno, "cannot stat").In(archive);
  return std::optional(Place{info.st_ino, tail->begin, tail->replaced});
}

Result<bool> CanEditInPlace(const std::string& archive, const NewMembers& members, const Place& place) {
  struct stat info;
  if (sys.stat(archive.c_str(), &info) != 0) return ErrnoStatus(errno, "cannot stat").In(archive);
  if (SizeOf(members) > kMostAppended || place.replaced > kMostReplaced) return false;
  if (!S_ISREG(info.st_mode) || info.st_nlink != 1) return false;
  // What lies behind the end marker would be overwritten: nothing that somebody put there.
  const auto size = static_cast<uint64_t>(info.st_size);
  return size >= place.end && size - place.end <= kMostReplaced;
}

Status EditInPlace(const std::string& archive, const NewMembers& members, const Place& place) {
  return Append(archive, members, place).In(archive);
}

}  // namespace anemone
