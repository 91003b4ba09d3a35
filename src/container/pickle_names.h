// The names that Python 2 had for modules and what is in them.
#ifndef ANEMONE_CONTAINER_PICKLE_NAMES_H_
#define ANEMONE_CONTAINER_PICKLE_NAMES_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace anemone::internal {

// "module name" with Python 2's spelling turned into Python 3's: "__builtin__ unicode" → "builtins str".
std::string ModernGlobal(std::string_view module, std::string_view name);
// "module name" of a global in a pickle of that protocol: Python 2's spelling is known up to protocol 2.
std::string GlobalName(std::string_view module, std::string_view name, uint64_t protocol);
// The spelling a protocol 2 pickle has [CPython _compat_pickle.py, REVERSE_NAME_MAPPING]: "builtins str" → module
// "__builtin__", name "unicode". Views into `global` or into constants. REQUIRES: `global` holds a space.
struct ModuleAndName {
  std::string_view module;
  std::string_view name;
};
ModuleAndName Protocol2Global(std::string_view global);

}  // namespace anemone::internal

#endif  // ANEMONE_CONTAINER_PICKLE_NAMES_H_
