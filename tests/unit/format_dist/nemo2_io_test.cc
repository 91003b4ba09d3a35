#include "format/nemo/nemo2_io.h"

#include <functional>
#include <map>
#include <set>

#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {
namespace {

using testing::Golden;
using testing::ReadFile;

// Path → value or name, for every leaf of the graph.
std::map<std::string, ConfigNode> Leaves(const ConfigNode& document) {
  std::map<std::string, ConfigNode> leaves;
  const std::function<void(const ConfigNode&)> visit = [&](const ConfigNode& node) {
    if (const ConfigNode* paths = node.Get("paths"); paths != nullptr && node.Get("type") != nullptr) {
      const std::string type = node.Get("type")->AsString().value_or("");
      for (const ConfigNode& path : paths->list) {
        if (type == "leaf") leaves[path.ScalarText()] = *node.Get("value");
        if (type == "pyref") {
          leaves[path.ScalarText()] =
              ConfigNode::String(node.Get("module")->ScalarText() + "." + node.Get("name")->ScalarText());
        }
      }
    }
    for (const auto& [key, child] : node.map) visit(child);
    for (const ConfigNode& child : node.list) visit(child);
  };
  visit(document);
  return leaves;
}

// N2-6: made from model.yaml, the graph says of the model what NeMo's own said.
TEST(Nemo2Io, SaysOfTheModelWhatNemoSaid) {
  const std::string folder = Golden("dist/nemo2_llama/nemo/context/");
  ANEMONE_ASSERT_ASSIGN(const Config model, Config::ParseYaml(ReadFile(folder + "model.yaml"), "model.yaml"));
  ANEMONE_ASSERT_ASSIGN(const Config theirs, Config::ParseJson(ReadFile(folder + "io.json"), "io.json"));
  ANEMONE_ASSERT_ASSIGN(const Config ours, Config::ParseJson(MakeIoJson(model.root()), "ours"));
  const auto expected = Leaves(theirs.root()), found = Leaves(ours.root());
  size_t compared = 0;
  for (const auto& [path, value] : expected) {
    if (!path.starts_with("<root>.model.")) continue;
    ++compared;
    ASSERT_TRUE(found.contains(path)) << path;
    EXPECT_TRUE(SameConfig(found.at(path), value)) << path;
  }
  EXPECT_GT(compared, 150u);
}

// Every reference leads to an object, and every object is counted.
TEST(Nemo2Io, IsClosed) {
  ANEMONE_ASSERT_ASSIGN(
      const Config model,
      Config::ParseYaml("_target_: a.B\nconfig: {_target_: c.D, x: 1, f: {_call_: false, _target_: e.f}}\n", "test"));
  ANEMONE_ASSERT_ASSIGN(const Config made, Config::ParseJson(MakeIoJson(model.root()), "made"));
  std::set<std::string> referred;
  const std::function<void(const ConfigNode&)> visit = [&](const ConfigNode& node) {
    const ConfigNode* type = node.Get("type");
    if (type != nullptr && type->AsString() == "ref") referred.insert(node.Get("key")->ScalarText());
    for (const auto& [key, child] : node.map) visit(child);
    for (const ConfigNode& child : node.list) visit(child);
  };
  visit(made.root());
  std::set<std::string> objects, counted;
  for (const auto& [key, object] : made.root().Get("objects")->map) objects.insert(key);
  for (const auto& [key, count] : made.root().Get("refcounts")->map) counted.insert(key);
  EXPECT_EQ(referred, objects);
  EXPECT_EQ(counted, objects);
  EXPECT_EQ(made.Find("root.key")->AsString(), "trainer_context_1");
}

}  // namespace
}  // namespace anemone
