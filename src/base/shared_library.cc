#include "base/shared_library.h"

#include <dlfcn.h>

#include <string>
#include <string_view>

namespace anemone {

namespace {

// Debian's name for the package of "libopenblas.so.0": libopenblas0; of "libbz2.so.1.0": libbz2-1.0.
std::string DebianPackage(std::string name) {
  constexpr std::string_view kMiddle = ".so.";
  const size_t at = name.find(kMiddle);
  if (at == std::string::npos) return name;
  const bool ends_in_digit = at > 0 && name[at - 1] >= '0' && name[at - 1] <= '9';
  return name.replace(at, kMiddle.size(), ends_in_digit ? "-" : "");
}

}  // namespace

Result<SharedLibrary> SharedLibrary::Open(std::initializer_list<const char*> names) {
  std::string why;
  for (const char* name : names) {
    if (void* handle = dlopen(name, RTLD_LAZY | RTLD_LOCAL); handle != nullptr) return SharedLibrary(handle, name);
    if (const char* error = dlerror(); error != nullptr && why.empty()) why = error;
  }
  return Status(ErrorKind::kUnavailable, why,
                std::string("install the package that holds ") + *names.begin() +
                    ": on Debian and Ubuntu, apt-get install " + DebianPackage(*names.begin()));
}

Result<void*> SharedLibrary::Address(const char* name) const {
  if (void* address = dlsym(handle_, name); address != nullptr) return address;
  return Status(ErrorKind::kUnavailable, std::string(name_) + ": expected the function " + name + ", found none");
}

}  // namespace anemone
