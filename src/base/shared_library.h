// Libraries that few commands need, loaded at first use: libcurl and OpenBLAS with what they bring along would take up
// half of the time that `anemone inspect` runs.
#ifndef ANEMONE_BASE_SHARED_LIBRARY_H_
#define ANEMONE_BASE_SHARED_LIBRARY_H_

#include <initializer_list>
#include <string>
#include <type_traits>

#include "anemone/status.h"

namespace anemone {

// Stays loaded until the process ends. Threads: safe.
class SharedLibrary {
 public:
  // The first of `names` (sonames, as the ABI that was compiled against names them) that the system's loader finds.
  // Errors: Unavailable.
  static Result<SharedLibrary> Open(std::initializer_list<const char*> names);

  // Points `function` at the library's function of that name. Errors: Unavailable, when it has none.
  template <class Function>
  Status Find(const char* name, Function*& function) const {
    ANEMONE_ASSIGN(void* const address, Address(name));
    function = reinterpret_cast<Function*>(address);
    return {};
  }

 private:
  explicit SharedLibrary(void* handle, const char* name) : handle_(handle), name_(name) {}
  Result<void*> Address(const char* name) const;

  void* handle_;
  const char* name_;
};

// The functions of a library, as `kLoad` finds them: a Result of a struct. It runs once in a process; its answer, an
// error too, stays. Threads: safe.
template <auto kLoad>
auto LoadedOnce() -> Result<const std::decay_t<decltype(*kLoad())>*> {
  static const auto loaded = kLoad();
  if (!loaded.ok()) return loaded.status();
  return &*loaded;
}

}  // namespace anemone

#endif  // ANEMONE_BASE_SHARED_LIBRARY_H_
