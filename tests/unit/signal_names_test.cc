#include <gtest/gtest.h>

#include <csignal>
#include <optional>
#include <string>
#include <utility>

#include "treekill/kernel/signals.h"
#include "treekill/teardown.h"

namespace treekill {
namespace {

TEST(ParseSignal, NamesAndNumbers) {
  const std::pair<const char*, int> kCases[] = {
      {"TERM", SIGTERM},
      {"SIGTERM", SIGTERM},
      {"term", SIGTERM},
      {"sigTerm", SIGTERM},
      {"15", 15},
      {"1", 1},
      {"64", 64},
      {"KILL", SIGKILL},
      {"STOP", SIGSTOP},
      {"USR1", SIGUSR1},
      {"WINCH", SIGWINCH},
      {"STKFLT", SIGSTKFLT},
      {"POLL", SIGPOLL},
      {"RTMIN", SIGRTMIN},
      {"RTMIN+3", SIGRTMIN + 3},
      {"sigrtmin+3", SIGRTMIN + 3},
      {"RTMIN+30", SIGRTMAX},
      {"RTMAX", SIGRTMAX},
      {"RTMAX-1", SIGRTMAX - 1},
      {"RTMAX-30", SIGRTMIN},
  };
  for (const auto& [text, signal] : kCases) {
    EXPECT_EQ(ParseSignal(text), signal) << text;
  }
}

// kill -l of bash and timeout(1) know these.
TEST(ParseSignal, OtherNamesOfTheSameSignals) {
  EXPECT_EQ(ParseSignal("SIGIO"), SIGIO);
  EXPECT_EQ(ParseSignal("IOT"), SIGIOT);
  EXPECT_EQ(ParseSignal("CLD"), SIGCLD);
}

TEST(ParseSignal, RefusesTheRest) {
  for (const char* text :
       {"",         "0",        "-1",         "65",     "999999999999",
        "EXIT",     "SIG",      "SIGSIGTERM", "TERM ",  "TERM\n",
        "TE",       "TERMX",    "15x",        "0x0f",   "RTMIN-1",
        "RTMAX+1",  "RTMIN+31", "RTMAX-31",   "RTMIN+", "RTMIN3",
        "RTMIN+-1", "RTMIN+x",  "SIG15"}) {
    EXPECT_EQ(ParseSignal(text), std::nullopt) << text;
  }
}

TEST(ParseSignal, NumbersAreDigitsOnly) {
  for (const char* text :
       {" 15", "15 ", "15\n", "+15", "RTMIN++3", "RTMIN+ 3", "RTMAX-+1"}) {
    EXPECT_EQ(ParseSignal(text), std::nullopt) << text;
  }
}

TEST(ParseSignal, TakesNoTextBeyondANul) {
  EXPECT_EQ(ParseSignal(std::string("TERM\0x", 6)), std::nullopt);
  EXPECT_EQ(ParseSignal(std::string("15\0", 3)), std::nullopt);
}

TEST(SignalName, IsWhatParseSignalTakes) {
  for (int signal = 1; signal <= kernel::kLastSignal; ++signal) {
    EXPECT_EQ(ParseSignal(SignalName(signal)), signal) << SignalName(signal);
  }
}

TEST(SignalName, Names) {
  EXPECT_EQ(SignalName(SIGTERM), "TERM");
  EXPECT_EQ(SignalName(SIGKILL), "KILL");
  EXPECT_EQ(SignalName(SIGRTMIN), "RTMIN");
  EXPECT_EQ(SignalName(SIGRTMIN + 3), "RTMIN+3");
}

TEST(SignalName, TheNumberWhereThereIsNoName) {
  EXPECT_EQ(SignalName(0), "0");
  EXPECT_EQ(SignalName(32), "32");
  EXPECT_EQ(SignalName(200), "200");
  EXPECT_EQ(SignalName(-1), "-1");
}

TEST(SignalBit, IsTheKernelsLayout) {
  EXPECT_EQ(kernel::SignalBit(1), 1u);
  EXPECT_EQ(kernel::SignalBit(64), uint64_t{1} << 63);
}

}  // namespace
}  // namespace treekill
