#include "tests/benchmark/results.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace treekill::bench {
namespace {

using Json = nlohmann::ordered_json;

Json LoadAverage() {
  std::array<double, 3> load = {};
  if (getloadavg(load.data(), load.size()) < 0) return Json();
  return load;
}

Json ToJson(const std::string& name, const Spread& spread) {
  return {{"name", name},
          {"median", spread.median},
          {"p10", spread.p10},
          {"p90", spread.p90}};
}

// Times are short and sizes are whole.
std::string Shown(double value, const std::string& unit) {
  return absl::StrFormat(unit == "ms" ? "%.3f" : "%.0f", value);
}

std::string ShownRange(const Spread& spread, const std::string& unit) {
  return absl::StrCat(Shown(spread.p10, unit), " .. ", Shown(spread.p90, unit));
}

}  // namespace

Results::Results() {
  utsname system = {};
  uname(&system);
  json_ = {
      {"schema_version", 1},          {"kernel", system.release},
      {"machine", system.machine},    {"cpus", sysconf(_SC_NPROCESSORS_ONLN)},
      {"load_before", LoadAverage()}, {"comparisons", Json::array()},
      {"figures", Json::array()},     {"checks", Json::array()},
      {"notes", Json::array()}};
  absl::PrintF("Linux %s, %s\n", system.release,
               absl::StrCat(sysconf(_SC_NPROCESSORS_ONLN), " CPUs"));
  absl::PrintF(
      "Each first line is measured in turn with the one below it. ratio: of\n"
      "the medians, which the target is for; pairs: the median of the ratios\n"
      "of each pair.\n\n");
  absl::PrintF("%-2s %-44s %9s     %-22s %5s %6s  %s\n", "#", "what", "median",
               "p10 .. p90", "ratio", "pairs", "target");
  fflush(stdout);
}

std::string Results::Judge(double value, const std::optional<double>& target,
                           Json& entry) {
  if (!target.has_value()) return "";
  bool pass = value <= *target;
  over_ = over_ || !pass;
  entry["target"] = *target;
  entry["verdict"] = pass ? "pass" : "over";
  return absl::StrFormat("<= %g %s", *target, pass ? "PASS" : "over");
}

void Results::Compare(const Row& row, const absl::StatusOr<Pairs>& pairs) {
  if (absl::IsCancelled(pairs.status())) return;
  if (!pairs.ok()) {
    Check(row.item, row.measured, false, pairs.status().ToString());
    return;
  }
  Spread measured = SpreadOf(pairs->measured);
  Spread against = SpreadOf(pairs->against);
  double ratio = RatioOfMedians(*pairs);
  double of_pairs = MedianOfRatios(*pairs);
  Json entry = {{"item", row.item},
                {"unit", row.unit},
                {"rounds", pairs->measured.size()},
                {"measured", ToJson(row.measured, measured)},
                {"against", ToJson(row.against, against)},
                {"ratio_of_medians", ratio},
                {"median_of_ratios", of_pairs}};
  std::string verdict = Judge(ratio, row.target, entry);
  json_["comparisons"].push_back(entry);
  absl::PrintF("%-2d %-44s %9s %-3s %-22s %5.3f %6.3f  %s\n", row.item,
               row.measured, Shown(measured.median, row.unit), row.unit,
               ShownRange(measured, row.unit), ratio, of_pairs, verdict);
  absl::PrintF("   %-44s %9s %-3s %s\n", row.against,
               Shown(against.median, row.unit), row.unit,
               ShownRange(against, row.unit));
  fflush(stdout);
}

void Results::Figure(const Row& row, double value) {
  Json entry = {{"item", row.item},
                {"name", row.measured},
                {"value", value},
                {"unit", row.unit}};
  std::string verdict = Judge(value, row.target, entry);
  json_["figures"].push_back(entry);
  absl::PrintF("%-2d %-44s %9s %-38s  %s\n", row.item, row.measured,
               Shown(value, row.unit), row.unit, verdict);
  fflush(stdout);
}

void Results::Check(int item, const std::string& what, bool holds,
                    const std::string& detail) {
  correct_ = correct_ && holds;
  json_["checks"].push_back(
      {{"item", item}, {"name", what}, {"holds", holds}, {"detail", detail}});
  absl::PrintF("%-2d %-44s %9s %s\n", item, what, holds ? "ok" : "FAILED",
               detail);
  fflush(stdout);
}

void Results::Note(int item, const std::string& text) {
  json_["notes"].push_back({{"item", item}, {"text", text}});
  absl::PrintF("%-2d %s\n", item, text);
  fflush(stdout);
}

absl::Status Results::WriteJson(const std::string& file) {
  json_["load_after"] = LoadAverage();
  json_["correct"] = correct_;
  json_["over"] = over_;
  std::ofstream out(file, std::ios::binary);
  out << json_.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
  if (out.flush().good()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot write ", file));
}

}  // namespace treekill::bench
