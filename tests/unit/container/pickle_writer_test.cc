#include "container/pickle.h"
#include "show.h"
#include "testing/matchers.h"

namespace anemone {
namespace {

using namespace std::string_literals;
using testing::IsOk;
using testing::SameValue;
using testing::Show;
using testing::StatusIs;

// What the writer makes of what the reader reads; the two must be one value.
std::string Rewrite(const std::string& pickle) {
  const Result<Value> value = ReadPickle(pickle);
  if (!value.ok()) return value.status().message();
  const Result<std::string> written = WritePickle(*value);
  if (!written.ok()) return written.status().message();
  const Result<Value> again = ReadPickle(*written);
  if (!again.ok()) return again.status().message();
  EXPECT_TRUE(SameValue(value->node, again->node)) << Show(value->node) << "\n" << Show(again->node);
  return *written;
}

TEST(PickleWriter, UsesOnlyOpcodesEveryTorchAccepts) {  // PKL-15
  EXPECT_EQ(Rewrite("N."), "\x80\2N.");
  EXPECT_EQ(Rewrite("\x80\4\x95\4\0\0\0\0\0\0\0\x8c\1a\x94."s), "\x80\2X\1\0\0\0a."s);
  EXPECT_EQ(Rewrite("I01\n."), "\x80\2\x88.");
  EXPECT_EQ(Rewrite("(I1\nI-1\nI255\nI256\nI65535\nI65536\nI2147483648\nI-2147483648\nt."s),
            "\x80\2(K\1J\xff\xff\xff\xffK\xffM\0\1M\xff\xffJ\0\0\1\0\x8a\5\0\0\0\x80\0J\0\0\0\x80t."s);
  EXPECT_EQ(Rewrite("I9223372036854775807\n."), "\x80\2\x8a\10\xff\xff\xff\xff\xff\xff\xff\x7f.");
  EXPECT_EQ(Rewrite("I-9223372036854775809\n."), "\x80\2\x8a\11\xff\xff\xff\xff\xff\xff\xff\x7f\xff.");
  EXPECT_EQ(Rewrite("I18446744073709551616\n."), "\x80\2\x8a\11\0\0\0\0\0\0\0\0\1."s);
  EXPECT_EQ(Rewrite("F2.5\n."), "\x80\2G@\4\0\0\0\0\0\0."s);
  EXPECT_EQ(Rewrite("\x80\3"
                    "C\2\xff\1."s),
            "\x80\2"
            "c_codecs\nencode\nq\0X\3\0\0\0\xc3\xbf\1X\6\0\0\0latin1\x86R."s);
  EXPECT_EQ(Rewrite("C\0."s),
            "\x80\2"
            "c__builtin__\nbytes\nq\0)R."s);
  EXPECT_EQ(Rewrite("\x96\1\0\0\0\0\0\0\0a."s),
            "\x80\2"
            "c__builtin__\nbytearray\nq\0X\1\0\0\0aX\6\0\0\0latin1\x86R."s);
  EXPECT_EQ(Rewrite("\x8f(K\1\x90."s),
            "\x80\2"
            "c__builtin__\nset\nq\0]K\1a\x85R."s);
  EXPECT_EQ(Rewrite("(K\1K\2\x91."s),
            "\x80\2"
            "c__builtin__\nfrozenset\nq\0](K\1K\2e\x85R."s);
  EXPECT_EQ(Rewrite("((t](K\1K\2e}(K\1K\2K\3K\4ut."s), "\x80\2)](K\1K\2e}(K\1K\2K\3K\4u\x87."s);
  EXPECT_EQ(Rewrite("c__builtin__\nunicode\n."),
            "\x80\2"
            "c__builtin__\nunicode\nq\0."s);
  EXPECT_EQ(Rewrite("\x80\2"
                    "ccollections\nOrderedDict\n)R(K\1K\2K\3K\4u}b."s),
            "\x80\2"
            "ccollections\nOrderedDict\nq\0)R(K\1K\2K\3K\4u}b."s);
  EXPECT_EQ(Rewrite("ca\nB\n)\x81K\1a."s),
            "\x80\2"
            "ca\nB\nq\0)\x81K\1a."s);
  EXPECT_EQ(Rewrite("(K\1tQ."s), "\x80\2K\1\x85Q."s);
}

TEST(PickleWriter, CallsForAClassInsideAnother) {  // PKL-15: as Python's own protocol 2 does
  EXPECT_EQ(Rewrite("\x80\4\x8c\1m\x8c\3A.B\x93)\x81."s),
            "\x80\2"
            "c__builtin__\ngetattr\nq\0cm\nA\nq\1X\1\0\0\0B\x86R)\x81."s);
  EXPECT_EQ(Rewrite("\x80\4\x8c\1m\x8c\5A.B.C\x93\x94h\0\x86."s),
            "\x80\2"
            "c__builtin__\ngetattr\nq\0h\0cm\nA\nq\1X\1\0\0\0B\x86RX\1\0\0\0C\x86Rq\2h\2\x86."s);
  EXPECT_EQ(Rewrite("\x80\4\x8c\bbuiltins\x8c\bstr.join\x93."s),
            "\x80\2"
            "c__builtin__\ngetattr\nq\0c__builtin__\nunicode\nq\1X\4\0\0\0join\x86R."s);
  EXPECT_THAT(Rewrite("\x80\4\x8c\1m\x8c\2.B\x93."s), ::testing::HasSubstr("starts with a dot [PKL-8]"));
}

TEST(PickleWriter, MemoisesOnlyGlobalsAndWhatIsShared) {  // PKL-17
  EXPECT_EQ(Rewrite("\x80\2]q\0(]q\1X\1\0\0\0aq\2h\1h\2e."s), "\x80\2](]q\0X\1\0\0\0aq\1h\0h\1e."s);
  std::string many = "(";
  for (int i = 0; i < 300; ++i) many += "]p" + std::to_string(i) + "\n";
  for (int i = 0; i < 300; ++i) many += "g" + std::to_string(i) + "\n";
  EXPECT_NE(Rewrite(many + "t.").find("r\x2b\1\0\0"s), std::string::npos);
}

TEST(PickleWriter, WritesBatchesOfAThousand) {
  std::string list = "](";
  for (int i = 0; i < 2001; ++i) list += "N";
  const std::string written = Rewrite(list + "e.");
  EXPECT_EQ(written, "\x80\2](" + std::string(1000, 'N') + "e(" + std::string(1000, 'N') + "eNa.");
}

TEST(PickleWriter, KeepsCycles) {
  Rewrite("\x80\2]q\0h\0a."s);
  Rewrite("\x80\2}q\0K\1h\0s."s);
  EXPECT_EQ(Rewrite("\x80\2"
                    "ca\nP\n)\x81q\0}K\1h\0sb."s),
            "\x80\2"
            "ca\nP\nq\0)\x81q\1}K\1h\1sb."s);
}

TEST(PickleWriter, RefusesWhatNoPickleCanSay) {  // PKL-16
  // A tuple inside the list inside it, met from the tuple.
  EXPECT_THAT(Rewrite("\x80\2]q\0h\0\x85q\1a0h\1."s), ::testing::HasSubstr("[PKL-16]"));
  ValueGraph graph;
  const auto owner = std::make_shared<ValueGraph>();
  EXPECT_THAT(WritePickle({owner, nullptr}), StatusIs(ErrorKind::kInvalidArgument, "found none"));
  const ValueRef tensor = owner->New(ValueNode::Kind::kTensor);
  EXPECT_THAT(WritePickle({owner, tensor}), StatusIs(ErrorKind::kInvalidArgument, "found a tensor"));
  const ValueRef global = owner->New(ValueNode::Kind::kGlobal);
  global->text = "nospace";
  EXPECT_THAT(WritePickle({owner, global}), StatusIs(ErrorKind::kInvalidArgument, "[PKL-8]"));
  global->text = "__builtin__ set";  // of protocol 3 and later; here it would be another
  EXPECT_THAT(WritePickle({owner, global}), StatusIs(ErrorKind::kUnsupported, "[PKL-8]"));
}

TEST(PickleWriter, HandsTensorsToTheEncoder) {
  const auto graph = std::make_shared<ValueGraph>();
  const ValueRef list = graph->New(ValueNode::Kind::kList), tensor = graph->New(ValueNode::Kind::kTensor);
  tensor->tensor = std::make_unique<Tensor>(*Tensor::FromBytes(DType::kU8, {3}, "abc"));
  list->items = {tensor, tensor};
  int calls = 0;
  ANEMONE_ASSERT_ASSIGN(const std::string written,
                        WritePickle({graph, list}, [&](const Tensor& t, ValueGraph& scratch) -> Result<ValueRef> {
                          ++calls;
                          const ValueRef id = scratch.New(ValueNode::Kind::kPersistent),
                                         numel = scratch.New(ValueNode::Kind::kInt);
                          numel->integer = static_cast<int64_t>(t.num_elements());
                          id->items = {numel};
                          return id;
                        }));
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(written, "\x80\2](K\3Qq\0h\0e."s);
}

// The first has its entries as nodes, the second as late ones.
TEST(PickleWriter, WritesLateEntriesAsThoseOfTheNode) {
  const Tensor bytes = *Tensor::FromBytes(DType::kU8, {3}, "abc");
  const TensorEncoder encode = [](const Tensor& tensor, ValueGraph& scratch) -> Result<ValueRef> {
    const ValueRef numel = scratch.New(ValueNode::Kind::kInt);
    numel->integer = static_cast<int64_t>(tensor.num_elements());
    return numel;
  };
  for (const size_t count : {0u, 1u, 2u, 999u, 1000u, 1001u, 2001u}) {
    const auto graph = std::make_shared<ValueGraph>();
    const ValueRef callable = graph->New(ValueNode::Kind::kGlobal), shared = graph->New(ValueNode::Kind::kList),
                   first = graph->New(ValueNode::Kind::kObject), second = graph->New(ValueNode::Kind::kObject);
    callable->text = "collections OrderedDict";
    first->callable = second->callable = callable;
    std::vector<LateEntry> late;
    for (size_t i = 0; i < count; ++i) {
      const ValueRef key = graph->New(ValueNode::Kind::kString), tensor = graph->New(ValueNode::Kind::kTensor);
      key->text = std::to_string(i);
      tensor->tensor = std::make_unique<Tensor>(bytes);
      const bool is_tensor = i % 3 != 0;
      first->entries.insert(first->entries.end(), {key, is_tensor ? tensor : shared});
      late.push_back(is_tensor ? LateEntry{key->text, &bytes} : LateEntry{key->text, nullptr, shared});
    }
    const LateEntriesOf of = {{second, {count, [&](size_t i) { return late[i]; }}}};
    ANEMONE_ASSERT_ASSIGN(const std::string expected, WritePickle({graph, first}, encode));
    ANEMONE_ASSERT_ASSIGN(const std::string written, WritePickle({graph, second}, encode, of));
    EXPECT_EQ(written, expected) << count;
  }
}

TEST(PickleWriter, DepthIsBoundedByMemoryAlone) {
  std::string deep = "\x80\2N" + std::string(200'000, '\x85') + "."s;
  ANEMONE_ASSERT_ASSIGN(const Value value, ReadPickle(deep));
  ANEMONE_ASSERT_ASSIGN(const std::string written, WritePickle(value));
  EXPECT_EQ(written, deep);
}

}  // namespace
}  // namespace anemone
