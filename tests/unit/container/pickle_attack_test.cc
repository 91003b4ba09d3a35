// What is published against pickle scanners and unpicklers: each is refused by rule or read as inert data, and what it
// names is listed by TracePickle. Generators, not blobs.
#include <chrono>

#include "container/pickle.h"
#include "container/pickle_trace.h"
#include "show.h"
#include "testing/matchers.h"

namespace anemone {
namespace {

using namespace std::string_literals;
using ::testing::Contains;
using ::testing::Field;
using testing::IsOk;
using testing::Show;
using testing::StatusIs;

constexpr ErrorKind kRead = ErrorKind::kInternal;  // no refusal: read as data

struct Attack {
  std::string what;
  std::string pickle;
  ErrorKind kind;      // kRead, or how it is refused
  std::string words;   // the value shown, or words of the refusal
  std::string listed;  // a global the scan must list, or ""
};

std::vector<Attack> Attacks() {
  return {
      {"a call", "cos\nsystem\n(S'id'\ntR.", kRead, "os system('id')", "os system"},
      {"the module the function really lives in", "cposix\nsystem\n(S'id'\ntR.", kRead, "posix system('id')",
       "posix system"},
      {"a Python 2 alias", "ccommands\ngetoutput\n(S'id'\ntR.", kRead, "subprocess getoutput('id')",
       "subprocess getoutput"},
      {"eval through an alias of builtins", "c__builtin__\neval\n(S'1'\ntR.", kRead, "builtins eval('1')",
       "builtins eval"},
      {"STACK_GLOBAL with names from the memo",
       "\x80\4\x8c\2os\x94\x8c\6system\x94"
       "00h\0h\1\x93\x8c\2id\x85R."s,
       kRead, "os system('id')", "os system"},
      {"STACK_GLOBAL without a protocol 4 header", "X\2\0\0\0osX\6\0\0\0system\x93."s, kRead, "os system", "os system"},
      {"STACK_GLOBAL with Python 2 strings", "U\2osU\6system\x93."s, kRead, "os system", "os system"},
      {"STACK_GLOBAL with a name that is no string", "\x80\4\x8c\2osN\x93."s, ErrorKind::kCorrupt, "[PKL-8]", ""},
      {"STACK_GLOBAL with an operand from a call", "\x80\4ca\nb\n)R\x8c\6system\x93."s, ErrorKind::kCorrupt, "[PKL-8]",
       "a b"},
      {"a dotted name that reaches further", "\x80\4\x8c\2os\x8c\x0bpath.system\x93."s, kRead, "os path.system",
       "os path.system"},
      {"a name with a line break", "\x80\4\x8c\2os\x8c\x08sys\ntem2\x93."s, ErrorKind::kCorrupt, "[PKL-8]", ""},
      {"a name with a NUL", "\x80\4\x8c\2os\x8c\x07system\0\x93."s, ErrorKind::kCorrupt, "[PKL-8]", ""},
      {"protocols mixed in one stream", "\x80\2\x80\5\x80\4(I1\nK\2\x8c\1at."s, kRead, "(1, 2, 'a')", ""},
      {"a call thrown away by POP", "cos\nsystem\n(S'id'\ntR0N.", kRead, "None", "os system"},
      {"a call thrown away by POP_MARK", "(cos\nsystem\n(S'id'\ntR1N.", kRead, "None", "os system"},
      {"a call left below the result", "cos\nsystem\n(S'id'\ntRN.", kRead, "None", "os system"},
      {"a call in a dict that a later key hides", "}K\1cos\nsystem\n(S'id'\ntRsK\1K\2s."s, kRead, "{1: 2}",
       "os system"},
      {"a failure after the call", "cos\nsystem\n(S'id'\ntR\xff.", ErrorKind::kCorrupt, "[PKL-3]", "os system"},
      {"an end cut off after the call", "cos\nsystem\n(S'id'\ntR", ErrorKind::kCorrupt, "[PKL-2]", "os system"},
      {"INST", "(S'id'\nios\nsystem\n.", ErrorKind::kUnsupported, "os system", "os system"},
      {"OBJ", "(cos\nsystem\nS'id'\no.", ErrorKind::kUnsupported, "os system", "os system"},
      {"a name in the extension registry", "\x80\2\x82\1)R."s, ErrorKind::kUnsupported, "[PKL-13]", ""},
      {"a persistent id in text", "Pos.system\n.", ErrorKind::kUnsupported, "[PKL-13]", ""},
      {"BUILD on a function, for its __setstate__ or __dict__", "cos\nsystem\n}S'x'\nK\1sb."s, ErrorKind::kCorrupt,
       "[PKL-10]", "os system"},
      {"BUILD with a state that reaches a class", "ca\nB\n)\x81}S'__setstate__'\ncos\nsystem\nsbS'id'\nb.",
       ErrorKind::kCorrupt, "[PKL-10]", "os system"},
      {"getattr chains", "c__builtin__\ngetattr\n(c__builtin__\n__import__\n(S'os'\ntRS'system'\ntR(S'id'\ntR.", kRead,
       "builtins getattr(builtins __import__('os'), 'system')('id')", "builtins __import__"},
      {"a call through functools.partial", "cfunctools\npartial\n(cos\nsystem\nS'id'\ntR)R.", kRead,
       "functools partial(os system, 'id')()", "os system"},
      {"NEWOBJ_EX", "\x80\4\x8c\2os\x8c\5popen\x93)}\x8c\3cmd\x8c\2ids\x92."s, kRead,
       "copyreg __newobj_ex__(os popen, (), {'cmd': 'id'})", "os popen"},
      {"a memo entry put again, so that a name changes",
       "\x80\4\x8c\4mathq\0"
       "0\x8c\2osq\0"
       "0h\0\x8c\6system\x93."s,
       kRead, "os system", "os system"},
      {"a memo entry never put", "h\5.", ErrorKind::kCorrupt, "[PKL-5]", ""},
      {"a memo index that would need 32 GiB", "Nr\xfe\xff\xff\xff."s, ErrorKind::kCorrupt, "[PKL-5]", ""},
      {"a memo index beyond 64 bits", "Np99999999999999999999\n.", ErrorKind::kCorrupt, "[PKL-7]", ""},
      {"a string said to have 2^31 bytes", "X\0\0\0\x80."s, ErrorKind::kCorrupt, "[PKL-2]", ""},
      {"bytes said to have 2^63 bytes", "\x8e\0\0\0\0\0\0\0\x80."s, ErrorKind::kCorrupt, "[PKL-2]", ""},
      {"a negative count", "T\xff\xff\xff\xff."s, ErrorKind::kCorrupt, "[PKL-2]", ""},
      {"a number of two million digits", "L" + std::string(2'000'000, '7') + "L\n.", ErrorKind::kLimitExceeded,
       "[PKL-7]", ""},
      {"a frame beyond the end", "\x80\4\x95\xff\xff\xff\xff\0\0\0\0N."s, ErrorKind::kCorrupt, "[PKL-2]", ""},
      {"marks nested without end", std::string(1'000'000, '('), ErrorKind::kLimitExceeded, "[PKL-14]", ""},
      {"a callee that is a string", "S'os.system'\n)R.", ErrorKind::kCorrupt, "[PKL-9]", ""},
      {"arguments that are no tuple", "cos\nsystem\n]S'id'\naR.", ErrorKind::kCorrupt, "[PKL-9]", "os system"},
      {"a key that cannot be hashed", "}]N\x73.", ErrorKind::kCorrupt, "[PKL-12]", ""},
      {"bytes for another process", "\x97\x98.", ErrorKind::kUnsupported, "[PKL-13]", ""},
  };
}

TEST(PickleAttack, IsRefusedOrInertAndListed) {
  for (const Attack& attack : Attacks()) {
    const Result<Value> value = ReadPickle(attack.pickle);
    if (attack.kind == kRead) {
      ASSERT_THAT(value, IsOk()) << attack.what;
      EXPECT_EQ(Show(value->node), attack.words) << attack.what;
    } else {
      EXPECT_THAT(value, StatusIs(attack.kind, attack.words)) << attack.what;
    }
    // The trace follows what Python's unpickler reaches, which may be more than the reader takes.
    const PickleTrace trace = TracePickle(Whole(MemorySource(attack.pickle, "attack")));
    if (attack.kind == kRead) {
      EXPECT_THAT(trace.status, IsOk()) << attack.what;
    }
    if (!attack.listed.empty()) {
      EXPECT_THAT(trace.globals, Contains(Field(&PickleGlobal::name, attack.listed))) << attack.what;
    }
  }
}

// A few bytes that copy a large tuple, list or string into yet another call, again and again.
TEST(PickleAttack, RepeatedArgumentsAreBounded) {
  const std::string items(100'000, 'N');
  std::string tuple = "(" + items +
                      "tq\0"
                      "0ca\nb\nq\1"
                      "0"s,
              list = "](" + items +
                     "e\x85q\0"
                     "0c__builtin__\nset\nq\1"
                     "0"s;
  const auto size = static_cast<uint32_t>(items.size());
  std::string text = "X" + std::string(reinterpret_cast<const char*>(&size), 4) + items +
                     "X\6\0\0\0latin1\x86q\0"
                     "0c_codecs\nencode\nq\1"
                     "0"s;
  for (int i = 0; i < 10'000; ++i) {
    for (std::string* bomb : {&tuple, &list, &text}) *bomb += "h\1h\0R0"s;
  }
  for (const std::string* bomb : {&tuple, &list, &text}) {
    EXPECT_THAT(ReadPickle(*bomb + "N."), StatusIs(ErrorKind::kLimitExceeded, "[PKL-14]"));
  }
}

// Tuples and frozensets that hold the one before twice have a billion values to compare.
TEST(PickleAttack, KeysAreBounded) {
  std::string twice = "N", nested = "N";
  for (int i = 0; i < 30; ++i) twice += "2\x86";
  for (int i = 0; i < 200; ++i) nested += "\x85";
  for (const std::string& key : {twice, nested}) {
    EXPECT_THAT(ReadPickle("}" + key + "Ns."), StatusIs(ErrorKind::kLimitExceeded, "[PKL-14]"));
    EXPECT_THAT(ReadPickle("(" + key + "\x91."), StatusIs(ErrorKind::kLimitExceeded, "[PKL-14]"));
  }
  std::string frozen = "(N\x91";
  for (int i = 0; i < 30; ++i) frozen = "(" + frozen + "\x94h"s + static_cast<char>(i) + "\x85\x91"s;
  EXPECT_THAT(ReadPickle(frozen + "."), StatusIs(ErrorKind::kLimitExceeded, "[PKL-14]"));
}

// A byte of a pickle makes a reference of eight, and a thousand bytes come from one that is deflated.
TEST(PickleAttack, ReferencesAreBoundedByTheBytesInTheFile) {
  const std::string nones = "(" + std::string(9'000'000, 'N') + "l.";
  EXPECT_THAT(ReadPickle(nones), IsOk());
  EXPECT_THAT(ReadPickle(nones, {.stored_bytes = 9'000}), StatusIs(ErrorKind::kLimitExceeded, "[PKL-14]"));
}

// "Billion laughs": every list holds the one before ten times. Shared, so it stays as small as it is.
TEST(PickleAttack, SharingIsNotExpanded) {
  std::string laughs = "\x80\2]q\0"s;
  for (int i = 0; i < 200; ++i) {
    const auto index = static_cast<char>(i), next = static_cast<char>(i + 1);
    laughs += "0](";
    for (int j = 0; j < 10; ++j) laughs += "h"s + index;
    laughs += "eq"s + next;
  }
  ANEMONE_ASSERT_ASSIGN(const Value value, ReadPickle(laughs + "."));
  EXPECT_LT(value.graph->size(), 300u);
  ANEMONE_ASSERT_ASSIGN(const std::string written, WritePickle(value));
  EXPECT_LT(written.size(), laughs.size() + 1000);
}

TEST(PickleAttack, DepthDoesNotReachTheStack) {
  const int depth = 1'000'000;
  EXPECT_THAT(ReadPickle("N" + std::string(depth, '\x85') + "."), IsOk());
  EXPECT_THAT(ReadPickle(std::string(depth, ']') + std::string(depth - 1, 'a') + "."), IsOk());
  std::string calls = "N";
  for (int i = 0; i < 100'000; ++i)
    calls +=
        "q\0"
        "0ca\nb\nh\0\x85R"s;
  EXPECT_THAT(ReadPickle(calls + "."), IsOk());
}

// Overlapping storages are the torch reader's to judge: here a persistent id is any value.
TEST(PickleAttack, PersistentIdsStayValues) {
  ANEMONE_ASSERT_ASSIGN(const Value value, ReadPickle("\x80\2(X\6\0\0\0modulecos\nsystem\nX\1\0\0\0aX\1\0\0\0btQ."s));
  EXPECT_EQ(Show(value.node), "pid ('module', os system, 'a', 'b')");
}

}  // namespace
}  // namespace anemone
