// PowerLoss: what a directory would hold if the power went now. It watches the calls of anemone::sys and keeps two
// books: what was synced, and what is pending. After every call that changes something it asks whether each state that
// a disk could be in is acceptable: nothing pending has happened, all of it, any one change alone, out of order, or all
// but one. The data and the mode that a file was given and that were not synced are lost.
#ifndef ANEMONE_TESTS_TESTING_POWER_LOSS_H_
#define ANEMONE_TESTS_TESTING_POWER_LOSS_H_

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/sys.h"
#include "testing/temp_dir.h"

namespace anemone::testing {

class PowerLoss {
 public:
  // As Tree() has them, each content behind the mode and the access list in hex, if it has one: "0640+02… content".
  using Files = std::map<std::string, std::string>;

  static constexpr const char* kAccessList = "system.posix_acl_access";
  // Gives a file or a directory the mode and the list with which On() begins its content.
  static void SetMode(const std::string& path, const std::string& content) {
    const std::string mode = content.substr(0, content.find(' '));
    ::chmod(path.c_str(), static_cast<mode_t>(std::stoi(mode, nullptr, 8)));
    std::string list;
    for (size_t at = std::min(mode.find('+'), mode.size()); at + 2 < mode.size(); at += 2)
      list += static_cast<char>(std::stoi(mode.substr(at + 1, 2), nullptr, 16));
    if (!list.empty()) ::setxattr(path.c_str(), kAccessList, list.data(), list.size(), 0);
  }

  // Watches `place`. `ask` is called with every state that differs from the last ones. The `dropped`th fsync (from 0)
  // says that it is done and does nothing. One at a time, one thread.
  PowerLoss(const std::string& place, std::function<void(const Files&)> ask, int dropped = -1,
            bool renames_take_flags = true)
      : place_(Normal(place)), ask_(std::move(ask)), dropped_(dropped), renames_take_flags_(renames_take_flags) {
    real_ = sys;
    current_ = this;
    Load(place_);
    sys.open = [](const char* path, int flags, mode_t mode) {
      const bool made = (flags & O_CREAT) != 0 && !std::filesystem::exists(path);
      const int fd = real_.open(path, flags, mode);
      if (fd >= 0) current_->Opened(fd, path, made);
      return fd;
    };
    sys.openat = [](int directory, const char* path, int flags, mode_t mode) {
      const std::string full = PathOf(directory) + "/" + path;
      const bool made = (flags & O_CREAT) != 0 && !std::filesystem::exists(full);
      const int fd = real_.openat(directory, path, flags, mode);
      if (fd >= 0) current_->Opened(fd, full, made);
      return fd;
    };
    sys.fsync = [](int fd) { return current_->Sync(fd); };
    sys.mkdir = [](const char* path, mode_t mode) { return current_->Made(real_.mkdir(path, mode), path); };
    sys.mkdirat = [](int directory, const char* path, mode_t mode) {
      return current_->Made(real_.mkdirat(directory, path, mode), PathOf(directory) + "/" + path);
    };
    sys.rename = [](const char* from, const char* to, unsigned flags) { return current_->Rename(from, to, flags); };
    sys.remove_all = [](const char* path) { return current_->Remove(path); };
  }
  ~PowerLoss() { sys = real_; }
  PowerLoss(const PowerLoss&) = delete;
  PowerLoss& operator=(const PowerLoss&) = delete;

  int syncs() const { return syncs_; }
  // What the directory at `place` holds now.
  static Files On(const std::string& place) {
    Files files = Tree(place);
    for (auto& [name, content] : files) content = ModeOf(place + "/" + name) + content;
    return files;
  }
  // Every state that the disk could be in now.
  std::set<Files> States() const {
    std::set<Files> states = {After({})};
    std::vector<size_t> all;
    for (size_t i = 0; i < pending_.size(); ++i) {
      all.push_back(i);
      states.insert(After({i}));
    }
    states.insert(After(all));
    for (size_t i = 0; i < all.size(); ++i) {
      std::vector<size_t> others = all;
      others.erase(others.begin() + static_cast<ptrdiff_t>(i));
      states.insert(After(others));
    }
    return states;
  }

 private:
  using Id = ino_t;
  struct Node {
    bool is_directory = false;
    std::string mode;                   // what was synced
    std::string content;                // of a file: what was synced
    std::map<std::string, Id> entries;  // of a directory: what was synced
  };
  struct Entry {
    Id directory;
    std::string name;
    Id to;  // 0: the name goes
  };
  using Change = std::vector<Entry>;  // happens whole or not at all
  using Nodes = std::map<Id, Node>;

  // Paths are compared as text: of each directory one spelling.
  static std::string Normal(const std::string& path) { return std::filesystem::absolute(path).lexically_normal(); }
  static Id IdOf(const std::string& path) {
    struct stat info;
    return ::lstat(path.c_str(), &info) == 0 ? info.st_ino : 0;
  }
  static Id IdOf(int fd) {
    struct stat info;
    return ::fstat(fd, &info) == 0 ? info.st_ino : 0;
  }
  static std::string ModeOf(const std::string& path) {
    struct stat info = {};
    ::stat(path.c_str(), &info);
    char text[16];
    std::snprintf(text, sizeof text, "%04o", info.st_mode & 07777);
    std::string mode = text;
    unsigned char list[256];
    const ssize_t size = ::getxattr(path.c_str(), kAccessList, list, sizeof list);
    for (ssize_t i = 0; i < size; ++i) {
      std::snprintf(text, sizeof text, i == 0 ? "+%02x" : "%02x", list[i]);
      mode += text;
    }
    return mode + " ";
  }
  static std::string PathOf(int fd) { return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd)); }
  static std::string NameOf(const std::string& path) { return std::filesystem::path(path).filename(); }
  static Id ParentOf(const std::string& path) { return IdOf(std::filesystem::path(path).parent_path().string()); }

  // What is there before is on disk.
  void Load(const std::string& path) {
    Node& node = nodes_[IdOf(path)];
    node.is_directory = std::filesystem::is_directory(path);
    node.mode = ModeOf(path);
    if (!node.is_directory) node.content = ReadFile(path);
    if (!node.is_directory) return;
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      node.entries[NameOf(entry.path())] = IdOf(entry.path());
      Load(entry.path());
    }
  }

  void Opened(int fd, const std::string& path, bool made) {
    if (!made || !Watches(path)) return;
    nodes_[IdOf(fd)] = {.mode = ModeOf(path), .content = "", .entries = {}};
    Changed({{ParentOf(path), NameOf(path), IdOf(fd)}});
  }

  int Made(int result, const std::string& path) {
    if (result != 0 || !Watches(path)) return result;
    nodes_[IdOf(path)] = {.is_directory = true, .mode = ModeOf(path), .content = "", .entries = {}};
    Changed({{ParentOf(path), NameOf(path), IdOf(path)}});
    return result;
  }

  int Rename(const std::string& from, const std::string& to, unsigned flags) {
    if (flags != 0 && !renames_take_flags_) {
      errno = EINVAL;
      return -1;
    }
    const Id moved = IdOf(from), there = (flags & RENAME_EXCHANGE) != 0 ? IdOf(to) : 0;
    const int result = real_.rename(from.c_str(), to.c_str(), flags);
    if (result != 0 || !Watches(from)) return result;
    Changed({{ParentOf(from), NameOf(from), there}, {ParentOf(to), NameOf(to), moved}});
    return result;
  }

  // Each name goes by itself, the contents of a directory before it.
  int Remove(const std::string& path) {
    std::vector<Entry> gone;
    if (IdOf(path) != 0 && Watches(path)) {
      gone.push_back({ParentOf(path), NameOf(path), 0});
      if (std::filesystem::is_directory(path)) {
        for (const auto& entry : std::filesystem::recursive_directory_iterator(path))
          gone.push_back({ParentOf(entry.path()), NameOf(entry.path()), 0});
      }
    }
    const int result = real_.remove_all(path.c_str());
    for (size_t i = gone.size(); i-- > 0;) Changed({gone[i]});
    return result;
  }

  int Sync(int fd) {
    if (syncs_++ == dropped_) return 0;
    const Id id = IdOf(fd);
    const auto node = nodes_.find(id);
    if (node == nodes_.end()) return 0;
    node->second.mode = ModeOf(PathOf(fd));
    if (!node->second.is_directory) {
      node->second.content = ReadFile("/proc/self/fd/" + std::to_string(fd));  // may be open for writing only
      if (node->second.content.empty()) node->second.content = ReadFile(PathOf(fd));
    } else {
      // A file system writes a rename whole: with either of its directories.
      std::vector<Change> left;
      for (const Change& change : pending_) {
        const bool is_of = std::ranges::any_of(change, [&](const Entry& entry) { return entry.directory == id; });
        if (is_of) {
          Apply(change, nodes_);
        } else {
          left.push_back(change);
        }
      }
      pending_ = std::move(left);
    }
    Ask();
    return 0;
  }

  bool Watches(const std::string& path) const { return (Normal(path) + "/").starts_with(place_ + "/"); }

  void Changed(Change change) {
    pending_.push_back(std::move(change));
    Ask();
  }

  void Ask() {
    for (const Files& state : States()) ask_(state);
  }

  static void Apply(const Change& change, Nodes& nodes) {
    for (const Entry& entry : change) {
      if (entry.to == 0) {
        nodes[entry.directory].entries.erase(entry.name);
      } else {
        nodes[entry.directory].entries[entry.name] = entry.to;
      }
    }
  }

  Files After(const std::vector<size_t>& changes) const {
    Nodes nodes = nodes_;
    for (const size_t i : changes) Apply(pending_[i], nodes);
    Files files;
    AddTo(files, nodes, IdOf(place_), "");
    return files;
  }

  static void AddTo(Files& files, const Nodes& nodes, Id directory, const std::string& prefix) {
    for (const auto& [name, id] : nodes.at(directory).entries) {
      const auto node = nodes.find(id);
      if (node == nodes.end()) continue;
      files[prefix + name + (node->second.is_directory ? "/" : "")] = node->second.mode + node->second.content;
      if (node->second.is_directory) AddTo(files, nodes, id, prefix + name + "/");
    }
  }

  const std::string place_;
  const std::function<void(const Files&)> ask_;
  const int dropped_;
  const bool renames_take_flags_;
  int syncs_ = 0;
  Nodes nodes_;
  std::vector<Change> pending_;
  static inline Sys real_;
  static inline PowerLoss* current_ = nullptr;
};

}  // namespace anemone::testing

#endif  // ANEMONE_TESTS_TESTING_POWER_LOSS_H_
