#include "container/pickle_names.h"

namespace anemone::internal {
namespace {

struct Alias {
  std::string_view old_module, old_name, module, name;  // empty names: the whole module
  bool is_written = false;                              // CPython's protocol 2 writer turns it back
};

// [CPython Lib/_compat_pickle.py NAME_MAPPING, IMPORT_MAPPING]: what can occur in a checkpoint or an attack.
constexpr Alias kAliases[] = {
    {"__builtin__", "unicode", "builtins", "str", true},
    {"__builtin__", "long", "builtins", "int", true},
    {"__builtin__", "xrange", "builtins", "range", true},
    {"__builtin__", "unichr", "builtins", "chr", true},
    {"__builtin__", "basestring", "builtins", "str"},
    {"__builtin__", "reduce", "functools", "reduce", true},
    {"__builtin__", "intern", "sys", "intern", true},
    {"itertools", "imap", "builtins", "map", true},
    {"itertools", "izip", "builtins", "zip", true},
    {"itertools", "ifilter", "builtins", "filter", true},
    {"itertools", "ifilterfalse", "itertools", "filterfalse", true},
    {"itertools", "izip_longest", "itertools", "zip_longest", true},
    {"UserDict", "IterableUserDict", "collections", "UserDict"},
    {"__builtin__", "", "builtins", "", true},
    {"exceptions", "", "builtins", ""},
    {"copy_reg", "", "copyreg", "", true},
    {"Queue", "", "queue", ""},
    {"SocketServer", "", "socketserver", ""},
    {"ConfigParser", "", "configparser", ""},
    {"repr", "", "reprlib", ""},
    {"commands", "", "subprocess", ""},
    {"anydbm", "", "dbm", ""},
    {"whichdb", "", "dbm", ""},
    {"gdbm", "", "dbm.gnu", ""},
    {"dbhash", "", "dbm.bsd", ""},
    {"thread", "", "_thread", ""},
    {"dummy_thread", "", "_dummy_thread", ""},
    {"StringIO", "", "io", ""},
    {"cStringIO", "", "io", ""},
    {"cPickle", "", "pickle", ""},
    {"_elementtree", "", "xml.etree.ElementTree", ""},
    {"UserDict", "", "collections", ""},
    {"UserList", "", "collections", ""},
    {"UserString", "", "collections", ""},
    {"HTMLParser", "", "html.parser", ""},
    {"htmlentitydefs", "", "html.entities", ""},
    {"httplib", "", "http.client", ""},
    {"Cookie", "", "http.cookies", ""},
    {"cookielib", "", "http.cookiejar", ""},
    {"BaseHTTPServer", "", "http.server", ""},
    {"SimpleHTTPServer", "", "http.server", ""},
    {"CGIHTTPServer", "", "http.server", ""},
    {"urllib", "", "urllib.request", ""},
    {"urllib2", "", "urllib.request", ""},
    {"urlparse", "", "urllib.parse", ""},
    {"robotparser", "", "urllib.robotparser", ""},
    {"xmlrpclib", "", "xmlrpc.client", ""},
    {"DocXMLRPCServer", "", "xmlrpc.server", ""},
    {"SimpleXMLRPCServer", "", "xmlrpc.server", ""},
};

}  // namespace

std::string ModernGlobal(std::string_view module, std::string_view name) {
  for (const Alias& alias : kAliases) {
    if (alias.old_module != module || (!alias.old_name.empty() && alias.old_name != name)) continue;
    module = alias.module;
    if (!alias.name.empty()) name = alias.name;
    break;
  }
  std::string global;
  global.reserve(module.size() + 1 + name.size());
  return global.append(module).append(1, ' ').append(name);
}

ModuleAndName Protocol2Global(std::string_view global) {
  const size_t space = global.find(' ');
  const std::string_view module = global.substr(0, space), name = global.substr(space + 1);
  for (const Alias& alias : kAliases) {
    if (!alias.is_written || alias.module != module) continue;
    if (alias.name.empty()) return {alias.old_module, name};
    if (alias.name == name) return {alias.old_module, alias.old_name};
  }
  return {module, name};
}

}  // namespace anemone::internal
