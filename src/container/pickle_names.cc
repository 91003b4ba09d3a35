#include "container/pickle_names.h"

namespace anemone::internal {
namespace {

struct Alias {
  std::string_view old_module, old_name, module, name;  // empty names: the whole module
  bool is_written = false;                              // CPython's protocol 2 writer turns it back
};

// [CPython Lib/_compat_pickle.py NAME_MAPPING, IMPORT_MAPPING], names before their modules.
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
    {"UserList", "UserList", "collections", "UserList"},
    {"UserString", "UserString", "collections", "UserString"},
    {"whichdb", "whichdb", "dbm", "whichdb"},
    {"_socket", "fromfd", "socket", "fromfd"},
    {"_multiprocessing", "Connection", "multiprocessing.connection", "Connection"},
    {"multiprocessing.process", "Process", "multiprocessing.context", "Process"},
    {"multiprocessing.forking", "Popen", "multiprocessing.popen_fork", "Popen"},
    {"urllib", "ContentTooShortError", "urllib.error", "ContentTooShortError"},
    {"urllib", "getproxies", "urllib.request", "getproxies"},
    {"urllib", "pathname2url", "urllib.request", "pathname2url"},
    {"urllib", "quote_plus", "urllib.parse", "quote_plus"},
    {"urllib", "quote", "urllib.parse", "quote"},
    {"urllib", "unquote_plus", "urllib.parse", "unquote_plus"},
    {"urllib", "unquote", "urllib.parse", "unquote"},
    {"urllib", "url2pathname", "urllib.request", "url2pathname"},
    {"urllib", "urlcleanup", "urllib.request", "urlcleanup"},
    {"urllib", "urlencode", "urllib.parse", "urlencode"},
    {"urllib", "urlopen", "urllib.request", "urlopen"},
    {"urllib", "urlretrieve", "urllib.request", "urlretrieve"},
    {"urllib2", "HTTPError", "urllib.error", "HTTPError"},
    {"urllib2", "URLError", "urllib.error", "URLError"},
    {"multiprocessing", "AuthenticationError", "multiprocessing.context", "AuthenticationError"},
    {"multiprocessing", "BufferTooShort", "multiprocessing.context", "BufferTooShort"},
    {"multiprocessing", "ProcessError", "multiprocessing.context", "ProcessError"},
    {"multiprocessing", "TimeoutError", "multiprocessing.context", "TimeoutError"},
    {"exceptions", "StandardError", "builtins", "Exception"},
    {"UserDict", "UserDict", "collections", "UserDict"},
    {"socket", "_socketobject", "socket", "SocketType"},
    {"__builtin__", "", "builtins", "", true},
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
    {"urllib2", "", "urllib.request", ""},
    {"urlparse", "", "urllib.parse", ""},
    {"robotparser", "", "urllib.robotparser", ""},
    {"xmlrpclib", "", "xmlrpc.client", ""},
    {"DocXMLRPCServer", "", "xmlrpc.server", ""},
    {"SimpleXMLRPCServer", "", "xmlrpc.server", ""},
    {"tkFileDialog", "", "tkinter.filedialog", ""},
    {"tkSimpleDialog", "", "tkinter.simpledialog", ""},
    {"tkColorChooser", "", "tkinter.colorchooser", ""},
    {"tkCommonDialog", "", "tkinter.commondialog", ""},
    {"Dialog", "", "tkinter.dialog", ""},
    {"Tkdnd", "", "tkinter.dnd", ""},
    {"tkFont", "", "tkinter.font", ""},
    {"tkMessageBox", "", "tkinter.messagebox", ""},
    {"ScrolledText", "", "tkinter.scrolledtext", ""},
    {"Tkconstants", "", "tkinter.constants", ""},
    {"Tix", "", "tkinter.tix", ""},
    {"ttk", "", "tkinter.ttk", ""},
    {"Tkinter", "", "tkinter", ""},
    {"markupbase", "", "_markupbase", ""},
    {"_winreg", "", "winreg", ""},
    {"dumbdbm", "", "dbm.dumb", ""},
    {"dbm", "", "dbm.ndbm", ""},
    {"test.test_support", "", "test.support", ""},
    {"_abcoll", "", "collections.abc", ""},
    {"FileDialog", "", "tkinter.filedialog", ""},
    {"SimpleDialog", "", "tkinter.simpledialog", ""},
};

// [CPython Lib/_compat_pickle.py PYTHON2_EXCEPTIONS], between blanks: of module "exceptions" in Python 2.
constexpr std::string_view kExceptions =
    " ArithmeticError AssertionError AttributeError BaseException BufferError BytesWarning"
    " DeprecationWarning EOFError EnvironmentError Exception FloatingPointError FutureWarning"
    " GeneratorExit IOError ImportError ImportWarning IndentationError IndexError KeyError"
    " KeyboardInterrupt LookupError MemoryError NameError NotImplementedError OSError OverflowError"
    " PendingDeprecationWarning ReferenceError RuntimeError RuntimeWarning StopIteration SyntaxError"
    " SyntaxWarning SystemError SystemExit TabError TypeError UnboundLocalError UnicodeDecodeError"
    " UnicodeEncodeError UnicodeError UnicodeTranslateError UnicodeWarning UserWarning ValueError Warning"
    " ZeroDivisionError ";

bool IsException(std::string_view name) {
  return !name.empty() && name.find(' ') == name.npos && kExceptions.find(" " + std::string(name) + " ") != name.npos;
}

}  // namespace

std::string ModernGlobal(std::string_view module, std::string_view name) {
  for (const Alias& alias : kAliases) {
    if (alias.old_module != module || (!alias.old_name.empty() && alias.old_name != name)) continue;
    module = alias.module;
    if (!alias.name.empty()) name = alias.name;
    break;
  }
  if (module == "exceptions" && IsException(name)) module = "builtins";
  std::string global;
  global.reserve(module.size() + 1 + name.size());
  return global.append(module).append(1, ' ').append(name);
}

std::string GlobalName(std::string_view module, std::string_view name, uint64_t protocol) {
  if (protocol < 3) return ModernGlobal(module, name);
  return std::string(module).append(1, ' ').append(name);
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
