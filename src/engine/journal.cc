#include "engine/journal.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <optional>
#include <span>

#include "anemone/bytes.h"
#include "base/crc32.h"
#include "base/directory.h"
#include "base/sys.h"
#include "engine/commit.h"
#include "engine/digest.h"
#include "engine/windows.h"

namespace anemone {
namespace {

constexpr uint64_t kMaxBytes = uint64_t{1} << 32;  // of a file of the journal
// Of the journal's own lines, and of how a plan is divided into windows.
constexpr std::string_view kVersion = "anemone journal 3\n";
constexpr std::string_view kEnd = "end\n";

Status WriteAndSync(int fd, uint64_t offset, std::string_view text, const std::string& path) {
  const bool done = WriteAll(fd, std::as_bytes(std::span(text)), offset) && sys.fsync(fd) == 0;
  return done ? Status() : ErrnoStatus(errno, "cannot write").In(path);
}

Result<std::string> ReadText(const Directory& folder, const std::string& name) {
  ANEMONE_ASSIGN(const Descriptor file, folder.OpenFile(name, O_RDONLY));
  const std::string path = folder.path() + "/" + name;
  std::string text;
  char part[1 << 16];
  for (ssize_t got = 1; got != 0;) {
    got = sys.pread(file.get(), part, sizeof part, static_cast<off_t>(text.size()));
    if (got < 0 && errno != EINTR) return ErrnoStatus(errno, "cannot read").In(path);
    if (got > 0) text.append(part, static_cast<size_t>(got));
    if (text.size() > kMaxBytes) return LimitExceeded("expected a journal of at most 4 GiB, found more").In(path);
  }
  return text;
}

uint64_t CountWindows(const Plan& plan, uint64_t window_bytes) {
  WindowCursor cursor(plan, window_bytes, true);
  uint64_t count = 0;
  while (cursor.Next()) ++count;
  return count;
}

std::string LineOf(std::string text) {
  std::ranges::replace(text, '\n', '?');
  return text + '\n';
}

// A line that is different once the file's content may be.
Result<std::string> SourceLine(const ByteSource& source) {
  if (!source.remote_version().empty()) {
    std::string version(source.remote_version());
    std::ranges::replace(version, ' ', '_');  // a word, as the time of a file is
    return LineOf("source " + std::to_string(source.size_bytes()) + ' ' + version + ' ' + source.name());
  }
  struct stat info;
  Descriptor opened;
  if (source.fd() < 0) {
    opened = Descriptor(sys.open(source.name().c_str(), O_RDONLY | O_CLOEXEC, 0));
    if (!opened.is_open())
      return Unsupported("cannot go on later from a source that is no file")
          .Use("resume", "false", "read it")
          .In(source.name());
  }
  if (sys.fstat(opened.is_open() ? opened.get() : source.fd(), &info) != 0)
    return ErrnoStatus(errno, "cannot stat").In(source.name());
  char numbers[96];
  std::snprintf(numbers, sizeof numbers, "source %" PRIu64 " %" PRId64 ".%09" PRId64 " ",
                static_cast<uint64_t>(info.st_size), static_cast<int64_t>(info.st_mtim.tv_sec),
                static_cast<int64_t>(info.st_mtim.tv_nsec));
  return LineOf(numbers + source.name());
}

// What is being written from what: the same text means that going on gives what one run would have given.
Result<std::string> Identity(const Plan& plan, uint64_t windows, uint64_t window_bytes) {
  std::vector<ByteSourcePtr> files;
  const std::string digest = Digest(plan, &files);
  std::string text(kVersion);
  text += "plan " + digest + '\n';
  text += "windows " + std::to_string(windows) + " of " + std::to_string(window_bytes) + '\n';
  for (const ByteSourcePtr& file : files) {
    ANEMONE_ASSIGN(const std::string line, SourceLine(*file));
    text += line;
  }
  return text.append(kEnd);
}

std::string_view TakeUntil(std::string_view& text, char end) {
  const std::string_view part = text.substr(0, text.find(end));
  text.remove_prefix(std::min(part.size() + 1, text.size()));
  return part;
}

Status Refusal(const std::string& folder, std::string_view before, std::string_view now) {
  std::string what = before.starts_with(kVersion) ? "with other options" : "by another version of anemone";
  while (!before.empty() && !now.empty()) {
    const std::string_view old_line = TakeUntil(before, '\n'), new_line = TakeUntil(now, '\n');
    if (old_line == new_line || !old_line.starts_with("source ") || !new_line.starts_with("source ")) continue;
    std::string_view name = new_line;  // behind its size and its time
    for (int i = 0; i < 3; ++i) TakeUntil(name, ' ');
    if (old_line.ends_with(name)) what = "before " + std::string(name) + " changed";
  }
  return InvalidArgument("cannot resume what was begun " + what, "rm -r '" + folder + "' frees what was written")
      .Use("resume", "false", "write it anew");
}

std::optional<uint64_t> Number(std::string_view text, int base) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

uint32_t LineCrc(std::string_view line) { return Crc32(0, std::as_bytes(std::span(line))); }

}  // namespace

Result<std::unique_ptr<Journal>> Journal::Open(const Directory& folder, const Plan& plan, uint64_t window_bytes,
                                               Cluster& cluster) {
  std::unique_ptr<Journal> journal(new Journal);
  journal->done_.resize(CountWindows(plan, window_bytes));
  ANEMONE_TRY(cluster.Follow(cluster.rank() == 0 ? journal->Begin(folder, plan, window_bytes) : Status()));

  // Every rank reads what all have done, before any goes on.
  const std::string own = "done." + std::to_string(cluster.rank());
  journal->done_path_ = folder.path() + "/" + own;
  const Result<std::vector<std::string>> names = folder.List();
  Status status = names.status();
  for (size_t i = 0; status.ok() && i < names->size(); ++i) {
    const std::string& name = (*names)[i];
    if (!name.starts_with("done.")) continue;
    uint64_t whole = 0;
    status = journal->Read(folder, name, &whole);
    if (name == own) journal->done_bytes_ = whole;
  }
  ANEMONE_TRY(cluster.Agree(status));

  Result<Descriptor> opened = folder.OpenFile(own, O_WRONLY | O_CREAT);
  status = opened.status();
  if (status.ok()) {
    journal->done_file_ = *std::move(opened);
    if (sys.ftruncate(journal->done_file_.get(), static_cast<off_t>(journal->done_bytes_)) != 0)
      status = ErrnoStatus(errno, "cannot write").In(journal->done_path_);
  }
  ANEMONE_TRY(cluster.Agree(status));
  return journal;
}

Status Journal::Begin(const Directory& folder, const Plan& plan, uint64_t window_bytes) {
  constexpr const char* kName = "journal";
  ANEMONE_ASSIGN(const std::string identity, Identity(plan, done_.size(), window_bytes));
  ANEMONE_ASSIGN(const Descriptor file, folder.OpenFile(kName, O_WRONLY | O_CREAT));
  ANEMONE_ASSIGN(const std::string before, ReadText(folder, kName));
  if (before == identity) return {};
  // One that is cut short was never begun with.
  if (before.ends_with(kEnd)) return Refusal(folder.path(), before, identity);
  const std::string path = folder.path() + "/" + kName;
  if (sys.ftruncate(file.get(), 0) != 0) return ErrnoStatus(errno, "cannot write").In(path);
  return WriteAndSync(file.get(), 0, identity, path);  // MakeOutput syncs the folder
}

// Takes the whole lines of a done file, `*whole` bytes; what was being written when the power went is left out.
Status Journal::Read(const Directory& folder, const std::string& name, uint64_t* whole) {
  ANEMONE_ASSIGN(const std::string text, ReadText(folder, name));
  std::string_view rest = text;
  for (size_t end = rest.find('\n'); end != rest.npos && TakeLine(rest.substr(0, end)); end = rest.find('\n'))
    rest.remove_prefix(end + 1);
  *whole = text.size() - rest.size();
  return {};
}

// "CRC WINDOW WINDOW … SLOT=CRC SLOT=CRC …", the first of all that follows its space.
bool Journal::TakeLine(std::string_view line) {
  const std::optional<uint64_t> crc = Number(TakeUntil(line, ' '), 16);
  if (crc != LineCrc(line)) return false;
  while (!line.empty()) {
    std::string_view word = TakeUntil(line, ' ');
    const bool is_slot = word.find('=') != word.npos;
    const std::optional<uint64_t> number = Number(TakeUntil(word, '='), 10);
    const std::optional<uint64_t> value = is_slot ? Number(word, 16) : 0;
    if (!number || !value || (!is_slot && *number >= done_.size())) return false;
    if (is_slot) {
      crcs_[*number] ^= static_cast<uint32_t>(*value);
    } else {
      done_[*number] = true;
    }
  }
  return true;
}

Status Journal::Add(const Batch& batch) {
  std::string line;
  for (const uint64_t window : batch.windows) line += (line.empty() ? "" : " ") + std::to_string(window);
  for (const auto& [slot, crc] : batch.crcs) {
    char word[48];
    std::snprintf(word, sizeof word, " %" PRIu64 "=%08" PRIx32, slot, crc);
    line += word;
  }
  char crc[16];
  std::snprintf(crc, sizeof crc, "%08" PRIx32 " ", LineCrc(line));
  line = crc + line + '\n';
  ANEMONE_TRY(WriteAndSync(done_file_.get(), done_bytes_, line, done_path_));
  done_bytes_ += line.size();
  return {};
}

}  // namespace anemone
