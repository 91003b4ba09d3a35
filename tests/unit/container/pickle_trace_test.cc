// What CPython's unpickler reaches, byte by byte. The right values are those of Modules/_pickle.c.
#include "container/pickle_trace.h"

#include "testing/matchers.h"

namespace anemone {
namespace {

using namespace std::string_literals;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::IsOk;
using ::testing::Not;
using testing::StatusIs;

PickleTrace Trace(const std::string& pickle, const PickleVisitor& visitor = {}) {
  return TracePickle(Whole(MemorySource(pickle, "p.pkl")), visitor);
}
std::vector<std::string> Called(const PickleTrace& trace) {
  std::vector<std::string> names;
  for (const PickleGlobal& global : trace.globals) names.push_back(global.name + (global.called ? "()" : ""));
  return names;
}

TEST(PickleTrace, ListsGlobalsInTheOrderInWhichTheyAreReached) {
  const PickleTrace trace = Trace("\x80\2cos\nsystem\nX\2\0\0\0id\x85R0ctorch\nFloatStorage\n.rest"s);
  EXPECT_THAT(trace.status, IsOk());
  EXPECT_EQ(trace.consumed, 44u);
  EXPECT_THAT(Called(trace), ElementsAre("os system()", "torch FloatStorage"));
}

TEST(PickleTrace, FollowsEveryWayToNameAndToCall) {
  struct Way {
    std::string pickle, called;
  };
  for (const Way& way : {
           Way{"(S'id'\nios\nsystem\n.", "os system()"},
           {"(cos\nsystem\nS'id'\no.", "os system()"},
           {"\x80\4\x8c\2os\x8c\6system\x93)\x81."s, "os system()"},
           {"\x80\4\x8c\2os\x8c\6system\x93)}\x92."s, "os system()"},
           {"\x80\4\x8c\2os\x94\x8c\6system\x94h\0h\1\x93)R."s, "os system()"},
           {"\x80\4\x8c\2osr\xff\xff\xff\xff\x8c\6systemj\xff\xff\xff\xff\x8c\6system\x93)R."s, "os system()"},
           {"Vo\\u0073\nVsyste\\U0000006d\n\x93)R.", "os system()"},
           {"S'o\\x73'\nS\"syste\\155\"\n\x93)R.", "os system()"},
           {"U\2osT\6\0\0\0system\x93)R."s, "os system()"},
           {"\x80\2c__builtin__\neval\n)R.", "builtins eval()"},     // Python 2's names up to protocol 2 …
           {"\x80\3c__builtin__\neval\n)R.", "__builtin__ eval()"},  // … and not from 3 on
           {"\x80\4\x8c\7pathlib\x8c\x09os.system\x93)R."s, "pathlib os.system()"},
           {"p 7 \ncos\nsystem\n)R.", ""},                           // nothing on the stack to keep
           {"Np 1_0 \n0cos\nsystem\np+5\n0g5\n)R.", "os system()"},  // numbers as Python reads them
           {"I 0x1F \nL-12L\nFinf\ncos\nsystem\n)R.", "os system()"},
           {"\x80\2N\x80\5cos\nsystem\n)R."s, "os system()"},
           {"P id\ncos\nsystem\n)R.", "os system()"},
           {"\x97\x98"
            "cos\nsystem\n)R."s,
            "os system()"},
           {"(((1cos\nsystem\n)R.", ""},  // POP_MARK takes one mark, STOP needs none
       }) {
    const PickleTrace trace = Trace(way.pickle);
    if (!way.called.empty()) {
      EXPECT_THAT(Called(trace), Contains(way.called)) << ::testing::PrintToString(way.pickle);
    }
  }
}

TEST(PickleTrace, StopsWhereTheUnpicklerStops) {
  for (const std::string& pickle : std::vector<std::string>{
           "0cos\nsystem\n)R."s,      // stack underflow
           "(Rcos\nsystem\n)R.",      // nothing below the mark may be taken
           "g9\ncos\nsystem\n)R.",    // no such memo entry
           "Ixyz\ncos\nsystem\n)R.",  // no number
           "Sid\ncos\nsystem\n)R.",   // no quotes
           "\x80\6"
           "cos\nsystem\n)R.",  // no such protocol
           "NN\x93"
           "cos\nsystem\n)R.",  // no text
           "T\xff\xff\xff\xff"
           "cos\nsystem\n)R.",
       }) {
    const PickleTrace trace = Trace(pickle);
    EXPECT_THAT(trace.status, Not(IsOk())) << ::testing::PrintToString(pickle);
    EXPECT_THAT(trace.globals, IsEmpty()) << ::testing::PrintToString(pickle);
  }
}

TEST(PickleTrace, WhatComesBeforeAFailureCounts) {
  const PickleTrace trace = Trace("cmypkg.sub\nrun\n)R\xff\xff");
  EXPECT_THAT(Called(trace), ElementsAre("mypkg.sub run()"));
  EXPECT_THAT(trace.status, StatusIs(ErrorKind::kCorrupt, "byte 17"));
}

// Readers of files drop the rest of a frame when an argument leaves it; readers of bytes do not.
TEST(PickleTrace, ArgumentsThatLeaveTheirFrameAreReported) {
  const std::string frame = "\x80\5N(\x95\2\0\0\0\0\0\0\0"s;
  EXPECT_THAT(Trace(frame + "B\7\1\0\0" + std::string(263, 'N') + "1.").oddities,
              Contains("byte 13 (BINBYTES): an argument leaves its frame"));
  EXPECT_THAT(Trace("\x80\4\x95\3\0\0\0\0\0\0\0Va\nbc\n0N."s).oddities, IsEmpty());
  EXPECT_THAT(Trace("\x80\4\x95\2\0\0\0\0\0\0\0Vab\n."s).oddities,
              Contains("byte 11 (UNICODE): an argument leaves its frame"));
  EXPECT_THAT(Trace("\x80\4\x95\x0b\0\0\0\0\0\0\0N\x95\1\0\0\0\0\0\0\0.N"s).oddities,
              Contains("byte 12 (FRAME): a frame inside a frame"));
  EXPECT_THAT(Trace("\x80\4\x95\2\0\0\0\0\0\0\0N.\x80\4\x95\2\0\0\0\0\0\0\0N."s).oddities, IsEmpty());
}

TEST(PickleTrace, OddWaysToCallAreReported) {
  for (const std::string& pickle :
       std::vector<std::string>{"\x80\2\x82\1."s, "ccollections\nOrderedDict\n)R)R.", "ccollections\nOrderedDict\n}b.",
                                "ccollections\nOrderedDict\nNNs."}) {
    EXPECT_THAT(Trace(pickle).oddities, Not(IsEmpty())) << ::testing::PrintToString(pickle);
  }
}

TEST(PickleTrace, ValuesAreBounded) {
  PickleVisitor visitor;
  visitor.max_values = 400;
  EXPECT_THAT(Trace(std::string(101, 'N') + ".", visitor).status, StatusIs(ErrorKind::kLimitExceeded, "at most 400"));
  EXPECT_THAT(Trace(std::string(101, '(') + ".", visitor).status, StatusIs(ErrorKind::kLimitExceeded, "at most 400"));
  std::string kept = "N", again = "N";
  for (int i = 0; i < 401; ++i) kept += "\x94", again += "q\7";
  EXPECT_THAT(Trace(kept + ".", visitor).status, StatusIs(ErrorKind::kLimitExceeded, "at most 400"));
  EXPECT_THAT(Trace(again + ".", visitor).status, IsOk());
}

TEST(PickleTrace, EntriesShowTheirText) {
  std::vector<std::string> seen;
  PickleVisitor visitor;
  visitor.keys = {"_target_"};
  visitor.entry = [&](std::string_view, const std::string* value) { seen.push_back(value ? *value : "?"); };
  const std::string key = "X\x08\0\0\0_target_"s;
  // Plain; behind OmegaConf's node, whose state holds it; and known to nobody.
  Trace("}" + key + "X\4\0\0\0os.ps."s, visitor);
  Trace("}(" + key + "comegaconf\nAnyNode\n)R}X\4\0\0\0_valX\1\0\0\0wsbu."s, visitor);
  Trace("(" + key + "Nd.", visitor);
  EXPECT_THAT(seen, ElementsAre("os.p", "w", "?"));
}

}  // namespace
}  // namespace anemone
