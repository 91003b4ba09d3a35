#include <chrono>

#include "container/pickle.h"
#include "show.h"
#include "testing/matchers.h"

namespace anemone {
namespace {

using namespace std::string_literals;
using testing::IsOk;
using ::testing::Not;
using testing::SameValue;
using testing::Show;
using testing::StatusIs;

std::string ReadShown(const std::string& pickle) {
  const Result<Value> value = ReadPickle(pickle);
  return value.ok() ? Show(value->node) : value.status().message();
}

TEST(PickleReader, ReadsWhatPythonWritesInEveryProtocol) {
  // pickle.dumps({'a': [1, -2, 2.5, None, True], 'b': ('x', b'\xff'), 'c': {1}, 'd': 2**70}, protocol)
  const std::string expected =
      "{'a': [1, -2, 2.5f, None, True], 'b': ('x', b'\xff'), 'c': set{1}, 'd': 1180591620717411303424}";
  const std::string pickles[] = {
      "(dp0\nVa\np1\n(lp2\nI1\naI-2\naF2.5\naNaI01\nasVb\np3\n(Vx\np4\nc_codecs\nencode\np5\n("
      "V\377\np6\nVlatin1\np7\ntp8\nRp9\n"
      "tp10\nsVc\np11\nc__builtin__\nset\np12\n((lp13\nI1\natp14\nRp15\nsVd\np16\nL1180591620717411303424L\ns."s,
      "}q\0(X\1\0\0\0aq\1]q\2(K\1J\376\377\377\377G@\4\0\0\0\0\0\0NI01\neX\1\0\0\0bq\3(X\1\0\0\0xq\4c_"
      "codecs\nencode\nq\5("
      "X\2\0\0\0\303\277q\6X\6\0\0\0latin1q\7tq\10Rq\ttq\nX\1\0\0\0cq\13c__builtin__\nset\nq\14(]q\15K\1atq\16Rq\17"
      "X\1\0\0\0dq\20L1180591620717411303424L\nu."s,
      "\x80\2}q\0(X\1\0\0\0aq\1]q\2(K\1J\376\377\377\377G@\4\0\0\0\0\0\0N\x88"
      "eX\1\0\0\0bq\3X\1\0\0\0xq\4c_codecs\nencode\nq\5"
      "X\2\0\0\0\303\277q\6X\6\0\0\0latin1q\7\x86q\10Rq\t\x86q\nX\1\0\0\0cq\13c__builtin__\nset\nq\14]"
      "q\15K\1a\x85q\16Rq\17"
      "X\1\0\0\0dq\20\x8a\11\0\0\0\0\0\0\0\0@u."s,
      "\x80\4\x95"
      "F\0\0\0\0\0\0\0}\x94(\x8c\1a\x94]\x94(K\1J\376\377\377\377G@\4\0\0\0\0\0\0N\x88"
      "e\x8c\1b\x94\x8c\1x\x94"
      "C\1\377\x94\x86\x94\x8c\1c\x94\x8f\x94(K\1\x90\x8c\1d\x94\x8a\11\0\0\0\0\0\0\0\0@u."s,
  };
  for (const std::string& pickle : pickles) EXPECT_EQ(ReadShown(pickle), expected);
}

TEST(PickleReader, KeepsCallsAsData) {
  EXPECT_EQ(ReadShown("\x80\2cos\nsystem\nX\2\0\0\0id\x85R."s), "os system('id')");
  EXPECT_EQ(ReadShown("\x80\2"
                      "ccollections\nOrderedDict\nq\0)Rq\1(K\1K\2K\3K\4u}X\1\0\0\0kK\5sb."s),
            "collections OrderedDict(){{'k': 5}}<1: 2, 3: 4>");
  EXPECT_EQ(ReadShown("\x80\2"
                      "ca\nB\n)\x81}b."s),
            "new a B(){{}}");
  EXPECT_EQ(ReadShown("\x80\2"
                      "ccollections\ndeque\n)R(K\1K\2e."s),
            "collections deque()[1, 2]");
  EXPECT_EQ(ReadShown("\x80\2(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0000tQ."s),
            "pid ('storage', torch FloatStorage, '0')");
  EXPECT_EQ(ReadShown("\x80\4\x8c\1a\x8c\1B\x93)}\x8c\1k\x8c\1vs\x92."s), "copyreg __newobj_ex__(a B, (), {'k': 'v'})");
}

// Protocol 2's name of a class inside another, of which an object is made.
TEST(PickleReader, AClassMayBeInsideAnother) {
  EXPECT_EQ(ReadShown("\x80\2"
                      "c__builtin__\ngetattr\ncm\nA\nX\1\0\0\0B\x86R)\x81}b."s),
            "new builtins getattr(m A, 'B')(){{}}");
}

TEST(PickleReader, TranslatesPython2Names) {
  EXPECT_EQ(ReadShown("c__builtin__\nunicode\n."), "builtins str");
  EXPECT_EQ(ReadShown("c__builtin__\nlong\n."), "builtins int");
  EXPECT_EQ(ReadShown("ccopy_reg\n_reconstructor\n."), "copyreg _reconstructor");
  EXPECT_EQ(ReadShown("ccommands\ngetoutput\n."), "subprocess getoutput");
  EXPECT_EQ(ReadShown("c__builtin__\neval\n."), "builtins eval");
  EXPECT_EQ(ReadShown("cexceptions\nStandardError\n."), "builtins Exception");
  EXPECT_EQ(ReadShown("curllib\nquote\n."), "urllib.parse quote");
  EXPECT_EQ(ReadShown("\x80\3c__builtin__\neval\n."),
            "__builtin__ eval");  // from protocol 3 on they are no names of Python 2
}

TEST(PickleReader, ReadsPython2Strings) {
  EXPECT_EQ(ReadShown("U\3abc."), "'abc'");
  EXPECT_EQ(ReadShown("T\2\0\0\0\xff\xfe."s), "b'\xff\xfe'");
  EXPECT_EQ(ReadShown("S'a\\'\\x41\\n\\101'\n."), "'a'A\nA'");
  EXPECT_EQ(ReadShown("V\\u00e9\\U0001f600\xe9\n."), "'\u00e9\U0001f600\u00e9'");
}

TEST(PickleReader, ReadsNumbersAtTheirEdges) {
  EXPECT_EQ(ReadShown("\x8a\0."s), "0");
  EXPECT_EQ(ReadShown("\x8a\10\0\0\0\0\0\0\0\x80."s), "-9223372036854775808");
  EXPECT_EQ(ReadShown("\x8a\11\xff\xff\xff\xff\xff\xff\xff\xff\0."s), "18446744073709551615");
  EXPECT_EQ(ReadShown("\x8a\11\0\0\0\0\0\0\0\0\xff."s), "-18446744073709551616");
  EXPECT_EQ(ReadShown("\x8a\3\xff\xff\xff."s), "-1");
  EXPECT_EQ(ReadShown("J\xff\xff\xff\xff."s), "-1");
  EXPECT_EQ(ReadShown("M\xff\xff."s), "65535");
  EXPECT_EQ(ReadShown("I9223372036854775808\n."), "9223372036854775808");
  EXPECT_EQ(ReadShown("Finf\n."), "inff");
  EXPECT_EQ(ReadShown("G\x7f\xf0\0\0\0\0\0\0."s), "inff");
}

TEST(PickleReader, KeepsIdentityAndCycles) {
  ANEMONE_ASSERT_ASSIGN(const Value list, ReadPickle("\x80\2]q\0h\0a."s));
  EXPECT_EQ(list.node->items[0], list.node);
  // An OmegaConf child names its parent before the parent has a state.
  ANEMONE_ASSERT_ASSIGN(const Value parent,
                        ReadPickle("\x80\2"
                                   "ca\nP\n)\x81q\0}X\5\0\0\0childca\nC\n)\x81}X\1\0\0\0ph\0sbsb."s));
  const ValueRef child = parent.node->state->items[1];
  EXPECT_EQ(child->state->items[1], parent.node);
}

TEST(PickleReader, AnArgumentTupleFetchedAgainIsATuple) {
  // The tuple of a call becomes the object; its memo entry must not.
  ANEMONE_ASSERT_ASSIGN(const Value value, ReadPickle("\x80\2"
                                                      "ca\nf\nK\1\x85q\0Rh\0h\0\x87."s));
  EXPECT_EQ(Show(value.node), "(a f(1), (1), (1))");
  EXPECT_EQ(value.node->items[1], value.node->items[2]);
  EXPECT_EQ(ReadShown("\x80\2"
                      "c__builtin__\nset\n]K\1a\x85q\0Rh\0\x86."s),
            "(set{1}, ([1]))");
}

TEST(PickleReader, LastValueOfAKeyWinsInTheFirstPlace) {
  EXPECT_EQ(ReadShown("\x80\2}(K\1K\2K\3K\4K\1K\5\x88K\6u."s), "{1: 6, 3: 4}");
  std::string many = "\x80\2}("s;
  for (int i = 0; i < 200; ++i) many += "K"s + static_cast<char>(i % 100) + "K"s + static_cast<char>(i);
  ANEMONE_ASSERT_ASSIGN(const Value value, ReadPickle(many + "u."));
  EXPECT_EQ(value.node->items.size(), 200u);
  EXPECT_EQ(value.node->items[1]->integer, 100);
}

TEST(PickleReader, KeysAndMembersAreEqualByValue) {
  EXPECT_EQ(ReadShown("}K\1K\2\x86K\7sG\x3f\xf0\0\0\0\0\0\0K\2\x86K\10s."s), "{(1, 2): 8}");
  EXPECT_EQ(ReadShown("}(K\1K\2\x91K\7sK\2"s + "K\1(K\2\x88K\1\x91."s), "frozenset{2, True}");
  EXPECT_EQ(ReadShown("}(K\1K\2\x91K\7s(K\2\x88K\1\x91K\10s."s), "{frozenset{1, 2}: 8}");
  // Tuples of the same values, and one that differs by the kind of its number alone.
  EXPECT_EQ(ReadShown("(K\1\x85K\2\x86K\1K\2\x85\x86K\1K\2\x86\x85\x88\x85K\2\x86\x91."s),
            "frozenset{((1), 2), (1, (2)), ((1, 2))}");
  EXPECT_EQ(ReadShown("\x8f(K\1\x88G\x3f\xf0\0\0\0\0\0\0\x90."s), "set{1}");
  EXPECT_EQ(ReadShown("}G\x43\xe0\0\0\0\0\0\0K\1sL9223372036854775808L\nK\2s."s), "{9.2233720368547758e+18f: 2}");
  EXPECT_EQ(ReadShown("}U\1aK\1sC\1aK\2s."s), "{'a': 1, b'a': 2}");
}

// Python 2 wrote an OrderedDict as a call with pairs.
TEST(PickleReader, CallsOfPythonsContainersTakeWhatIsThereThen) {
  const std::string ordered = "ccollections\nOrderedDict\n", counter = "ccollections\nCounter\n";
  EXPECT_EQ(ReadShown(ordered + "(](]K\1a](K\2K\3e](K\2K\4eetR."s), "collections OrderedDict([[1], [2, 3], [2, 4]])");
  EXPECT_EQ(ReadShown(ordered + "](](K\1K\2e](K\1K\3eK\4K\5\206e\x85R."s), "collections OrderedDict()<1: 3, 4: 5>");
  EXPECT_EQ(ReadShown(ordered + "}K\1K\2s\x85R."s), "collections OrderedDict()<1: 2>");
  EXPECT_EQ(ReadShown(counter + "}K\1K\2s\x85R."s), "collections Counter()<1: 2>");
  EXPECT_EQ(ReadShown(counter + "](K\1K\2e\x85R."s), "collections Counter([1, 2])");
  EXPECT_EQ(ReadShown("(" + counter + "]q\0\x85Rh\0K\1at."s), "(collections Counter([]), [1])");
  EXPECT_EQ(ReadShown("(" + ordered + "}q\0\x85Rh\0K\1K\2st."s), "(collections OrderedDict(), {1: 2})");
  EXPECT_THAT(ReadPickle(ordered + "](](]K\1ee\x85R."s), StatusIs(ErrorKind::kCorrupt, "[PKL-12]"));
}

// MEMOIZE takes the number of entries as its index, whatever indices others gave.
TEST(PickleReader, MemoizeCountsEntries) {
  EXPECT_EQ(ReadShown("(K\7q\5K\10\x94h\1h\5t."s), "(7, 8, 8, 7)");
  EXPECT_EQ(ReadShown("(K\7q\5q\5K\10\x94h\1t."s), "(7, 8, 8)");
  EXPECT_EQ(ReadShown("(K\7p1\nK\10\x94h\1t."s), "(7, 8, 8)");
  EXPECT_THAT(ReadPickle("K\7q\5\x94h\6."s), StatusIs(ErrorKind::kCorrupt, "[PKL-5]"));
}

// C and Python read other values, or one of them none.
TEST(PickleReader, RefusesWhereUnpicklersDisagree) {
  for (const std::string& pickle : std::vector<std::string>{
           "I010\n.",   // 8 in C
           "I+1\n.",    // True in C
           "I-0\n.",    // False in C
           "L010L\n.",  // an error in both
           "F+-1\n.",
           "Fnan(1)\n.",
           "\x95\4\0\0\0\0\0\0\0K\1\x95\1\0\0\0\0\0\0\0."s,  // an argument in its frame in part
           "\x95\3\0\0\0\0\0\0\0N.N"s,                       // and what is behind STOP
           "\x95\14\0\0\0\0\0\0\0N\x95\1\0\0\0\0\0\0\0.N"s,
       }) {
    EXPECT_THAT(ReadPickle(pickle), StatusIs(ErrorKind::kCorrupt, "[PKL-")) << ::testing::PrintToString(pickle);
  }
  EXPECT_EQ(ReadShown("\x95\2\0\0\0\0\0\0\0K\1\x95\1\0\0\0\0\0\0\0."s), "1");
  EXPECT_EQ(ReadShown("V\\\\u0041\n."), "'\\\\u0041'");
}

TEST(PickleReader, SaysHowMuchItConsumed) {
  uint64_t consumed = 0;
  EXPECT_THAT(ReadPickle("\x80\2K\1.\x80\2K\2."s, {}, &consumed), IsOk());
  EXPECT_EQ(consumed, 5u);
}

TEST(PickleReader, ReadsSurrogatesAndRefusesOtherBrokenText) {
  EXPECT_EQ(ReadShown("X\3\0\0\0\xed\xa0\x80."s), "'\xed\xa0\x80'");
  EXPECT_THAT(ReadPickle("X\1\0\0\0\xff."s), StatusIs(ErrorKind::kCorrupt, "[PKL-6]"));
  EXPECT_THAT(ReadPickle("X\2\0\0\0\xc0\x80."s), StatusIs(ErrorKind::kCorrupt, "[PKL-6]"));
}

// One row for every rule that reading can break.
TEST(PickleReader, RefusesEachBrokenRule) {
  struct Case {
    std::string pickle;
    ErrorKind kind;
    std::string words;
  };
  const Case cases[] = {
      {"\x80\6N."s, ErrorKind::kUnsupported, "byte 0 (PROTO): expected protocol 0 to 5, found 6 [PKL-1]"},
      {"", ErrorKind::kCorrupt, "[PKL-2]"},
      {"\x80\2K\1"s, ErrorKind::kCorrupt, "byte 4 (end): expected STOP"},
      {"X\xff\xff\xff\xff"
       "ab."s,
       ErrorKind::kCorrupt, "byte 0 (BINUNICODE): expected data of 4294967295 bytes, found 3 bytes left"},
      {"\x8d\xff\xff\xff\xff\xff\xff\xff\xff."s, ErrorKind::kCorrupt, "[PKL-2]"},
      {"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f."s, ErrorKind::kCorrupt, "[PKL-2]"},
      {"\x95\xff\xff\xff\xff\xff\xff\xff\xff."s, ErrorKind::kCorrupt, "a frame"},
      {"I123", ErrorKind::kCorrupt, "[PKL-2]"},
      {"\xff."s, ErrorKind::kCorrupt, "byte 0 (0xff): expected an opcode, found 0xff [PKL-3]"},
      {"\0."s, ErrorKind::kCorrupt, "[PKL-3]"},
      {".", ErrorKind::kCorrupt, "[PKL-4]"},
      {"0.", ErrorKind::kCorrupt, "[PKL-4]"},
      {"t.", ErrorKind::kCorrupt, "expected a mark"},
      {"N\x86.", ErrorKind::kCorrupt, "expected 2 values on the stack, found 1 [PKL-4]"},
      {"N(\x85.", ErrorKind::kCorrupt, "[PKL-4]"},
      {"h\7."s, ErrorKind::kCorrupt, "expected a memo entry 7, found none [PKL-5]"},
      {"Nr\xff\xff\xff\xff."s, ErrorKind::kCorrupt, "[PKL-5]"},
      {"Np-1\n.", ErrorKind::kCorrupt, "[PKL-7]"},
      {"I1e5\n.", ErrorKind::kCorrupt, "[PKL-7]"},
      {"I\n.", ErrorKind::kCorrupt, "[PKL-7]"},
      {"F0x1p3\n.", ErrorKind::kCorrupt, "[PKL-7]"},
      {"S'abc\n.", ErrorKind::kCorrupt, "[PKL-7]"},
      {"L" + std::string(700, '9') + "L\n.", ErrorKind::kLimitExceeded, "[PKL-7]"},
      {"\x8b\0\1\0\0"s + std::string(256, '\1') + ".", ErrorKind::kLimitExceeded, "[PKL-7]"},
      {"V\\u12\n.", ErrorKind::kCorrupt, "[PKL-6]"},
      {"cos\n\n.", ErrorKind::kCorrupt, "[PKL-8]"},
      {"cos system\nx\n.", ErrorKind::kCorrupt, "[PKL-8]"},
      {"c\xff\nx\n.", ErrorKind::kCorrupt, "[PKL-8]"},
      {"K\1K\2\x93."s, ErrorKind::kCorrupt, "expected a string naming a global, found an int [PKL-8]"},
      {"ca\nb\nK\1R."s, ErrorKind::kCorrupt, "expected a tuple of arguments, found an int [PKL-9]"},
      {"K\1)R."s, ErrorKind::kCorrupt, "expected a callable, found an int [PKL-9]"},
      {"ca\nb\n))\x92."s, ErrorKind::kCorrupt, "[PKL-9]"},
      {"ca\nb\n)}K\1K\2s\x92."s, ErrorKind::kCorrupt, "expected a keyword, found an int [PKL-9]"},
      {"ca\nb\n)R)\x81."s, ErrorKind::kCorrupt, "expected a class, found an object [PKL-9]"},
      {"]}b."s, ErrorKind::kCorrupt, "[PKL-10]"},
      {"ca\nb\n}b."s, ErrorKind::kCorrupt, "[PKL-10]"},
      {"ca\nb\n)R}b}b."s, ErrorKind::kCorrupt, "found a second [PKL-10]"},
      {"}K\1a."s, ErrorKind::kCorrupt, "expected a list, found a dict [PKL-11]"},
      {"]K\1K\2s."s, ErrorKind::kCorrupt, "expected a dict, found a list [PKL-11]"},
      {"}(K\1u."s, ErrorKind::kCorrupt, "a key alone [PKL-11]"},
      {"](K\1\x90."s, ErrorKind::kCorrupt, "expected a set"},
      {"}]K\1s."s, ErrorKind::kCorrupt, "expected a key, found a list [PKL-12]"},
      {"\x8f(}\x90."s, ErrorKind::kCorrupt, "[PKL-12]"},
      {"}]\x85K\1s."s, ErrorKind::kCorrupt, "expected a key, found a list [PKL-12]"},
      {"(ios\nsystem\n.", ErrorKind::kUnsupported, "an instance of os system"},
      {"(cos\nsystem\no.", ErrorKind::kUnsupported, "[PKL-13]"},
      {"Pid\n.", ErrorKind::kUnsupported, "[PKL-13]"},
      {"\x82\1."s, ErrorKind::kUnsupported, "[PKL-13]"},
      {"\x97."s, ErrorKind::kUnsupported, "[PKL-13]"},
      {std::string(20'000, '('), ErrorKind::kLimitExceeded, "[PKL-14]"},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(ReadPickle(c.pickle), StatusIs(c.kind, c.words)) << ::testing::PrintToString(c.pickle.substr(0, 40));
  }
}

TEST(PickleReader, HoldsItsLimits) {
  const std::string pickle = "\x80\2" + std::string(100, ']') + "."s;
  EXPECT_THAT(ReadPickle(pickle), IsOk());
  EXPECT_THAT(ReadPickle(pickle, {.max_nodes = 50}), StatusIs(ErrorKind::kLimitExceeded, "at most 50 objects"));
  EXPECT_THAT(ReadPickle(pickle, {.max_bytes = 50}), StatusIs(ErrorKind::kLimitExceeded, "at most 50 bytes"));
  // A million objects, and one for each four bytes that the pickle takes in its file.
  std::string dicts;
  for (int i = 0; i < 1'400'000; ++i) dicts += "}0";
  EXPECT_THAT(ReadPickle(dicts + "N."), IsOk());
  EXPECT_THAT(ReadPickle(dicts + "N.", {.stored_bytes = 5000}),
              StatusIs(ErrorKind::kLimitExceeded, "at most 1001250 objects"));
  EXPECT_THAT(ReadPickle(std::string(1'400'000, '}') + "."),
              StatusIs(ErrorKind::kLimitExceeded, "at most 1350000 objects"));
}

// Calls of one argument and more become the first.
Result<bool> TakeFirst(ValueNode& node) {
  if (node.kind != ValueNode::Kind::kObject || node.items.empty()) return false;
  node.kind = ValueNode::Kind::kInt;
  node.integer = node.items[0]->integer;
  return true;
}

TEST(PickleReader, WhatAVisitorUnderstandsIsNotKept) {
  std::string p = "(";
  for (int i = 0; i < 1000; ++i)
    p += "cm\nf\n(M"s + static_cast<char>(i % 256) + static_cast<char>(i / 256) + "](K\1K\2e}K\3X\1\0\0\0vstR"s;
  ANEMONE_ASSERT_ASSIGN(const Value value, ReadPickle(p + "l.", {}, nullptr, {.object = TakeFirst, .pair = {}}));
  ASSERT_EQ(value.node->items.size(), 1000u);
  for (size_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(value.node->items[i]->kind, ValueNode::Kind::kInt);
    EXPECT_EQ(value.node->items[i]->integer, static_cast<int64_t>(i));
  }
  EXPECT_LT(value.graph->size(), 2050u);  // the list, what it holds, and numbers, which are shared
}

TEST(PickleReader, WhatAVisitorUnderstandsStaysWhereItIsReadAgain) {
  // f(5, a := [7]) of arguments b, g(9, c := {}) twice, then a, b, c.
  const std::string p = "(cm\nf\n(K\5]q\1K\7atq\2Rcm\ng\n(K\t}q\3tR2h\1h\2h\3l."s;
  ANEMONE_ASSERT_ASSIGN(const Value value, ReadPickle(p, {}, nullptr, {.object = TakeFirst, .pair = {}}));
  EXPECT_EQ(Show(value.node), "[5, 9, 9, [7], (5, [7]), {}]");
  EXPECT_EQ(value.node->items[1], value.node->items[2]);
  EXPECT_EQ(value.node->items[3], value.node->items[4]->items[1]);
}

TEST(PickleReader, AVisitorSeesStatesAndTakesPairs) {
  std::vector<std::string> seen;
  const auto object = [&](ValueNode& node) -> Result<bool> {
    seen.push_back(node.state == nullptr ? "called" : "built");
    return node.state != nullptr;
  };
  const auto pair = [&](const ValueNode& dict, const ValueNode& key, const ValueNode& value) -> Result<bool> {
    EXPECT_EQ(dict.kind, ValueNode::Kind::kDict);
    if (key.integer > 4) return Corrupt("five");
    return key.integer % 2 == 1 && value.kind == ValueNode::Kind::kInt;
  };
  const auto read = [&](const std::string& p) { return ReadPickle(p, {}, nullptr, {.object = object, .pair = pair}); };
  ANEMONE_ASSERT_ASSIGN(const Value value,
                        read("}(K\0K\x0aK\1K\x0bK\2K\x0cuK\3K\x0dsK\3NsK\4cm\nC\n)\x81}K\0K\0sbs."s));
  EXPECT_EQ(seen, (std::vector<std::string>{"called", "built"}));
  EXPECT_EQ(Show(value.node), "{0: 10, 2: 12, 3: None, 4: new m C()}");
  EXPECT_THAT(read("}K\5Ns."s), StatusIs(ErrorKind::kCorrupt, "byte 4 (SETITEM): five"));
}

// A state dict of 100,000 tensors as torch.save writes it.
TEST(PickleReader, ReadsAHundredThousandTensorsWithinASecond) {
  std::string p =
      "\x80\2"
      "ccollections\nOrderedDict\nq\0)Rq\1("s;
  uint32_t memo = 2;
  const auto put = [&] { p += "r" + std::string(reinterpret_cast<const char*>(&memo), 4), ++memo; };
  const auto text = [&](const std::string& s) {
    const auto size = static_cast<uint32_t>(s.size());
    p += "X" + std::string(reinterpret_cast<const char*>(&size), 4) + s;
    put();
  };
  const int tensors = 100'000;
  for (int i = 0; i < tensors; ++i) {
    text("model.text_encoder.transformer.layers." + std::to_string(i) + ".self_attention.query_key_value.weight");
    p += "ctorch._utils\n_rebuild_tensor_v2\n";
    put();
    p += "((";
    text("storage");
    p += "ctorch\nFloatStorage\n";
    text(std::to_string(i));
    text("cpu");
    p += "J\0\0\1\0t"s;
    put();
    p += "QK\0M\0\4M\0\1\x86"s;
    put();
    p += "M\0\1K\1\x86"s;
    put();
    p += "\x89h\0)R"s;
    put();
    p += "t";
    put();
    p += "R";
    put();
  }
  p += "u.";
  const auto start = std::chrono::steady_clock::now();
  ANEMONE_ASSERT_ASSIGN(const Value value, ReadPickle(p));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_EQ(value.node->entries.size(), 2u * tensors);
  EXPECT_LT(value.graph->size(), 13u * tensors);
  RecordProperty("seconds", std::to_string(seconds));
  EXPECT_LT(seconds, 20.0);  // about 0.2 s unsanitized; sanitizers and a loaded machine are slower
}

}  // namespace
}  // namespace anemone
