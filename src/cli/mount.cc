// mount SRC DIR: what convert would write, as files that are computed when they are read.
#include "mount/mount.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include "anemone/convert.h"
#include "anemone/open.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "cli/convert_flags.h"
#include "cli/describe.h"
#include "cli/plan_flags.h"
#include "cli/text.h"
#include "format/format.h"

namespace anemone::cli {
namespace {

struct Options {
  ConvertFlags flags;
  std::string directory;
  MountOptions mount;
};

// "clip" of "models/clip.nemo", of "clip/" and of "openai/clip@main".
std::string StemOf(const std::string& source) {
  const std::filesystem::path path(source);
  const std::string name = (path.has_filename() ? path.filename() : path.parent_path().filename()).string();
  for (const Format* format : Formats()) {
    if (!format->extension.empty() && name.ends_with(format->extension) && name != format->extension)
      return name.substr(0, name.size() - format->extension.size());
  }
  std::error_code error;
  return std::filesystem::exists(path, error) ? name : name.substr(0, name.find('@'));
}

Status Run(Options& options) {
  if (globals().capture != nullptr) return Unsupported("mount runs as a program of its own", "run the command anemone");
  ANEMONE_TRY(options.flags.Parse());
  ANEMONE_TRY(CanMount(options.directory));
  ConvertOptions& convert = options.flags.convert;
  convert.progress = MakeProgress();
  convert.reflink = Reflink::kNever;
  convert.keep_source = false;
  if (convert.to.empty()) {
    ANEMONE_ASSIGN(const Checkpoint source, anemone::Open(options.flags.source, {convert.key, convert.progress}));
    if (source.format == nullptr || source.format->lay_out == nullptr)
      return WrongOption("to", "the source's own format is not written", "name one").In(options.flags.source);
    convert.to = source.format->name;
  }
  const Format* format = FindFormat(convert.to);
  const std::string file_name = StemOf(options.flags.source) + std::string(format != nullptr ? format->extension : "");
  const std::string destination =
      format != nullptr && format->is_directory ? options.directory : options.directory + "/" + file_name;
  ANEMONE_ASSIGN(const Conversion conversion, PlanConversion(options.flags.source, destination, convert));
  Notes(conversion.notes);
  Note(fmt::format("{}: {}; anemone unmount {} ends it",
                   conversion.plan->is_directory ? options.directory : destination,
                   InBrief(conversion.result, *FindFormat(conversion.format)), options.directory));
  Flush();
  return Mount(conversion.plan, file_name, options.directory, options.mount);
}

}  // namespace

std::function<int()> DeclareMount(CLI::App& app) {
  auto options = std::make_shared<Options>();
  options->flags.DeclareSource(app);
  app.add_option("DIR", options->directory, "An empty folder, where the files are to be seen")->required();
  app.add_flag("-f,--foreground", options->mount.foreground, "Serve in the foreground, until Ctrl-C or unmount");
  app.add_flag("--allow-other", options->mount.allow_other, "Let other users read the files, too");
  Topic(app, "Output");
  options->flags.DeclareFormat(app, "as the source");
  options->flags.DeclareCommon(app);
  options->flags.DeclareForeign(app);
  return [options] {
    const Status status = Run(*options);
    return status.ok() ? static_cast<int>(kDone) : Report(status);
  };
}

}  // namespace anemone::cli
