// Every command's declaration; the list itself is in commands.cc.
#ifndef ANEMONE_CLI_COMMANDS_H_
#define ANEMONE_CLI_COMMANDS_H_

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace CLI {
class App;
}

namespace anemone::cli {

std::function<int()> DeclareAverage(CLI::App& app);
std::function<int()> DeclareBench(CLI::App& app);
std::function<int()> DeclareCat(CLI::App& app);
std::function<int()> DeclareClean(CLI::App& app);
std::function<int()> DeclareCompletion(CLI::App& app);
std::function<int()> DeclareConvert(CLI::App& app);
std::function<int()> DeclareDiff(CLI::App& app);
std::function<int()> DeclareEdit(CLI::App& app);
std::function<int()> DeclareExtract(CLI::App& app);
std::function<int()> DeclareFetch(CLI::App& app);
std::function<int()> DeclareInfer(CLI::App& app);
std::function<int()> DeclareInspect(CLI::App& app);
std::function<int()> DeclareMount(CLI::App& app);
std::function<int()> DeclareNemo(CLI::App& app);
// After the word `nemo`: a script's path ("scripts/x.py") becomes its name, Hydra's flags of two letters behind one
// dash (`-cp DIR`) their long names; other words stay.
void SpellOutNemo(std::vector<std::string>& words);
std::function<int()> DeclarePack(CLI::App& app);
std::function<int()> DeclarePlan(CLI::App& app);
std::function<int()> DeclareReport(CLI::App& app);
std::function<int()> DeclareReshard(CLI::App& app);
std::function<int()> DeclareScan(CLI::App& app);
std::function<int()> DeclareUnmount(CLI::App& app);
std::function<int()> DeclareVerify(CLI::App& app);
std::function<int()> DeclareVersion(CLI::App& app);

// The names of NeMo's scripts that `anemone nemo` has, each with its summary.
std::vector<std::pair<std::string, std::string>> NemoScripts();
// Why it does not have another script of NeMo's, and what does instead; empty: NeMo has no such script.
std::string_view WhyNoNemoScript(std::string_view name);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_COMMANDS_H_
