#include "clip/python_repr.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "testing/matchers.h"

namespace anemone {
namespace {

TEST(PythonRepr, NemosLine) {
  const std::vector<std::string> texts = {"a dog", "a boy", "a girl"};
  const std::vector<float> probabilities = {0.0049710185F, 0.002258187F, 0.99277073F};
  EXPECT_EQ(ProbabilityLine(texts, probabilities),
            "Given image's CLIP text probability:  [('a dog', 0.0049710185), ('a boy', 0.002258187), ('a girl', "
            "0.99277073)]");
  EXPECT_EQ(ProbabilityLine({}, {}), "Given image's CLIP text probability:  []");
}

// Expected values by NumPy 1.24.
TEST(PythonRepr, FloatsAsNumpy1PrintsThem) {
  EXPECT_EQ(NumpyRepr(0.0001F), "1e-04");  // below 1e-4 exactly, and its exponent has two digits
  EXPECT_EQ(NumpyRepr(std::nextafter(0.0001F, 1.0F)), "0.000100000005");
  EXPECT_EQ(NumpyRepr(5.4e-5F), "5.4e-05");
  EXPECT_EQ(NumpyRepr(1.0F), "1.0");
  EXPECT_EQ(NumpyRepr(0.0F), "0.0");
  EXPECT_EQ(NumpyRepr(-0.0F), "-0.0");
  EXPECT_EQ(NumpyRepr(0.5F), "0.5");
  EXPECT_EQ(NumpyRepr(0.1F), "0.1");
  EXPECT_EQ(NumpyRepr(-12.25F), "-12.25");
  EXPECT_EQ(NumpyRepr(16777216.0F), "16777216.0");
  EXPECT_EQ(NumpyRepr(123456789.0F), "123456790.0");
  EXPECT_EQ(NumpyRepr(1e15F), "1000000000000000.0");
  EXPECT_EQ(NumpyRepr(1e16F), "1e+16");
  EXPECT_EQ(NumpyRepr(3.4028235e38F), "3.4028235e+38");
  EXPECT_EQ(NumpyRepr(1e-45F), "1e-45");
  EXPECT_EQ(NumpyRepr(0.99999994F), "0.99999994");
  EXPECT_EQ(NumpyRepr(std::numeric_limits<float>::quiet_NaN()), "nan");
  EXPECT_EQ(NumpyRepr(-std::numeric_limits<float>::infinity()), "-inf");
}

TEST(PythonRepr, StringsAsPythonPrintsThem) {
  EXPECT_EQ(PythonRepr(""), "''");
  EXPECT_EQ(PythonRepr("it's"), "\"it's\"");
  EXPECT_EQ(PythonRepr("say \"it's\""), "'say \"it\\'s\"'");
  EXPECT_EQ(PythonRepr("\"quoted\""), "'\"quoted\"'");
  EXPECT_EQ(PythonRepr("back\\slash\n\r\t"), "'back\\\\slash\\n\\r\\t'");
  EXPECT_EQ(PythonRepr(std::string("\0\x1b\x7f", 3)), "'\\x00\\x1b\\x7f'");
  EXPECT_EQ(PythonRepr("\u00e9 \u4e2d \U0001f600"), "'\u00e9 \u4e2d \U0001f600'");
  EXPECT_EQ(PythonRepr("\u00a0\u00ad\u200b\u2028\u3000\ue000\U000e0001"),
            "'\\xa0\\xad\\u200b\\u2028\\u3000\\ue000\\U000e0001'");
  EXPECT_EQ(PythonRepr("\xff\xc3"), "'\\udcff\\udcc3'");
}

}  // namespace
}  // namespace anemone
