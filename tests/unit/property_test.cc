#include "treekill/systemd/property.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "treekill/systemd/property_table.h"
#include "treekill/systemd/time_span.h"

namespace treekill::systemd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

using Strings = std::vector<std::string>;
using Bytes = std::vector<uint8_t>;
using Numbers = std::vector<std::pair<std::string, uint64_t>>;
using Rights = std::vector<std::pair<std::string, std::string>>;
using Prefixes = std::vector<IpPrefix>;

void Expect(const char* assignment, const char* name, const char* signature,
            const PropertyValue& value) {
  absl::StatusOr<Property> property = ParseProperty(assignment);
  ASSERT_TRUE(property.ok()) << property.status();
  EXPECT_EQ(property->name, name) << assignment;
  EXPECT_EQ(property->signature, signature) << assignment;
  EXPECT_TRUE(property->value == value) << assignment;
}

std::string Refusal(const std::string& assignment) {
  absl::StatusOr<Property> property = ParseProperty(assignment);
  EXPECT_FALSE(property.ok()) << assignment;
  if (property.ok()) return "";
  EXPECT_EQ(property.status().code(), absl::StatusCode::kInvalidArgument);
  std::string message(property.status().message());
  EXPECT_THAT(message, Not(HasSubstr("\n")));
  return message;
}

TEST(ParseProperty, Booleans) {
  Expect("CPUAccounting=yes", "CPUAccounting", "b", true);
  Expect("SendSIGHUP=On", "SendSIGHUP", "b", true);
  Expect("SendSIGKILL=0", "SendSIGKILL", "b", false);
  Expect("IPAccounting=1", "IPAccounting", "b", true);
  Expect("Delegate=yes", "Delegate", "b", true);
  EXPECT_THAT(Refusal("Delegate=no"), HasSubstr("cannot be"));
  Expect("Delegate=cpu memory", "DelegateControllers", "as",
         Strings{"cpu", "memory"});
}

TEST(ParseProperty, Memory) {
  Expect("MemoryMax=1G", "MemoryMax", "t", uint64_t{1} << 30);
  Expect("MemoryHigh=1.5K", "MemoryHigh", "t", uint64_t{1536});
  Expect("MemoryLow=4096", "MemoryLow", "t", uint64_t{4096});
  Expect("MemorySwapMax=0", "MemorySwapMax", "t", uint64_t{0});
  Expect("MemoryMax=infinity", "MemoryMax", "t", UINT64_MAX);
  Expect("MemoryMax=15E", "MemoryMax", "t", uint64_t{15} << 60);
  Expect("MemoryMax=50%", "MemoryMaxScale", "u", uint32_t{2147483648});
  Expect("MemoryMin=33.33%", "MemoryMinScale", "u", uint32_t{1431512599});
  Expect("MemoryMax=100%", "MemoryMaxScale", "u", UINT32_MAX);
  for (const char* text :
       {"", "x", "-1", "+1", "1Q", "1GG", "101%", "50.123%", "16E", " 1G",
        "1.G", ".5G", "1.-5G", "99999999999999999999"}) {
    EXPECT_THAT(Refusal(absl::StrCat("MemoryMax=", text)),
                HasSubstr("MemoryMax= does not take"));
  }
}

TEST(ParseProperty, Cpu) {
  Expect("CPUWeight=100", "CPUWeight", "t", uint64_t{100});
  Expect("CPUWeight=idle", "CPUWeight", "t", uint64_t{0});
  Expect("StartupCPUWeight=", "StartupCPUWeight", "t", UINT64_MAX);
  Expect("CPUQuota=150%", "CPUQuotaPerSecUSec", "t", uint64_t{1500000});
  Expect("CPUQuota=", "CPUQuotaPerSecUSec", "t", UINT64_MAX);
  Expect("CPUQuotaPeriodSec=10ms", "CPUQuotaPeriodUSec", "t", uint64_t{10000});
  Expect("AllowedCPUs=0-3,9 5", "AllowedCPUs", "ay", Bytes{0x2f, 0x02});
  Expect("AllowedMemoryNodes=1", "AllowedMemoryNodes", "ay", Bytes{2});
  for (const char* bad :
       {"CPUWeight=0", "CPUWeight=10001", "IOWeight=idle", "CPUQuota=0%",
        "CPUQuota=1", "AllowedCPUs=3-1", "AllowedCPUs=a", "AllowedCPUs=1-",
        "AllowedCPUs=8192"}) {
    EXPECT_THAT(Refusal(bad), HasSubstr("does not take"));
  }
}

TEST(ParseProperty, Tasks) {
  Expect("TasksMax=10", "TasksMax", "t", uint64_t{10});
  Expect("TasksMax=infinity", "TasksMax", "t", UINT64_MAX);
  Expect("TasksMax=10%", "TasksMaxScale", "u", uint32_t{429496730});
  EXPECT_EQ(Refusal("TasksMax=1K"),
            "TasksMax= does not take '1K', but a number, a percentage or "
            "infinity, as 100");
}

TEST(ParseProperty, Devices) {
  Expect("IOReadBandwidthMax=/dev/sda 5M", "IOReadBandwidthMax", "a(st)",
         Numbers{{"/dev/sda", 5000000}});
  Expect("IOWriteIOPSMax=/dev/sda infinity", "IOWriteIOPSMax", "a(st)",
         Numbers{{"/dev/sda", UINT64_MAX}});
  Expect("IOWriteIOPSMax=", "IOWriteIOPSMax", "a(st)", Numbers{});
  Expect("IODeviceWeight=/dev/sda 7", "IODeviceWeight", "a(st)",
         Numbers{{"/dev/sda", 7}});
  Expect("IODeviceLatencyTargetSec=/dev/sda 25ms", "IODeviceLatencyTargetUSec",
         "a(st)", Numbers{{"/dev/sda", 25000}});
  Expect("DeviceAllow=/dev/null rw", "DeviceAllow", "a(ss)",
         Rights{{"/dev/null", "rw"}});
  Expect("DeviceAllow=char-pts", "DeviceAllow", "a(ss)",
         Rights{{"char-pts", ""}});
  Expect("DeviceAllow=", "DeviceAllow", "a(ss)", Rights{});
  for (const char* bad :
       {"IODeviceWeight=/dev/sda", "IODeviceWeight=7", "DeviceAllow=/a x",
        "DeviceAllow=/a r w", "IOReadBandwidthMax=sda 5M"}) {
    EXPECT_THAT(Refusal(bad), HasSubstr("does not take"));
  }
}

TEST(ParseProperty, Addresses) {
  Expect("IPAddressAllow=10.1.2.3/8", "IPAddressAllow", "a(iayu)",
         Prefixes{{AF_INET, {10, 1, 2, 3}, 8}});
  Bytes one(16, 0);
  one[15] = 1;
  Expect("IPAddressDeny=127.0.0.1 ::1", "IPAddressDeny", "a(iayu)",
         Prefixes{{AF_INET, {127, 0, 0, 1}, 32}, {AF_INET6, one, 128}});
  Expect("IPAddressDeny=any", "IPAddressDeny", "a(iayu)",
         Prefixes{{AF_INET, Bytes(4, 0), 0}, {AF_INET6, Bytes(16, 0), 0}});
  Expect("IPAddressDeny=localhost", "IPAddressDeny", "a(iayu)",
         Prefixes{{AF_INET, {127, 0, 0, 0}, 8}, {AF_INET6, one, 128}});
  Expect("IPAddressDeny=", "IPAddressDeny", "a(iayu)", Prefixes{});
  for (const char* text : {"1.2.3", "1.2.3.4/33", "::/129", "a", "1.2.3.4/"}) {
    EXPECT_THAT(Refusal(absl::StrCat("IPAddressAllow=", text)),
                HasSubstr("does not take"));
  }
}

TEST(ParseProperty, ScopeAndKill) {
  Expect("RuntimeMaxSec=1min 30s", "RuntimeMaxUSec", "t", uint64_t{90000000});
  Expect("TimeoutStopSec=infinity", "TimeoutStopUSec", "t", UINT64_MAX);
  Expect("KillSignal=SIGINT", "KillSignal", "i", int32_t{2});
  Expect("KillMode=mixed", "KillMode", "s", std::string("mixed"));
  Expect("OOMPolicy=kill", "OOMPolicy", "s", std::string("kill"));
  Expect("ManagedOOMMemoryPressureLimit=60%", "ManagedOOMMemoryPressureLimit",
         "u", uint32_t{2576980377});
  EXPECT_EQ(Refusal("DevicePolicy=open"),
            "DevicePolicy= does not take 'open', but one of "
            "auto|closed|strict");
  EXPECT_THAT(Refusal("KillSignal=SIGNONE"), HasSubstr("a signal"));
}

TEST(ParseProperty, Unit) {
  Expect("Description=a = b ", "Description", "s", std::string("a = b "));
  Expect("Slice=work", "Slice", "s", std::string("work.slice"));
  Expect("After=a b.target", "After", "as", Strings{"a.service", "b.target"});
  Expect("JobRunningTimeoutSec=5", "JobRunningTimeoutUSec", "t",
         uint64_t{5000000});
  EXPECT_THAT(Refusal("Slice=work.scope"), HasSubstr("the name of a slice"));
  EXPECT_THAT(Refusal("After=a/b"), HasSubstr("names of units"));
}

TEST(ParseProperty, UnknownNames) {
  EXPECT_EQ(Refusal("Foo=1"),
            "unknown property 'Foo'; a scope takes MemoryMax=, CPUQuota=, "
            "TasksMax= and others, see systemd.resource-control(5)");
  EXPECT_THAT(Refusal("memorymax=1"), HasSubstr("did you mean MemoryMax=?"));
  EXPECT_THAT(Refusal("TaskMax=1"), HasSubstr("did you mean TasksMax=?"));
  for (const char* name : {"ExecStart", "ExecStopPost", "User", "PrivateTmp",
                           "LimitNOFILE", "Restart", "Nice"}) {
    EXPECT_THAT(
        Refusal(absl::StrCat(name, "=1")),
        HasSubstr(absl::StrCat(name, "= is a property of services; a scope")));
  }
  for (const char* text : {"", "MemoryMax", "=1"}) {
    EXPECT_THAT(Refusal(text), HasSubstr("NAME=VALUE"));
  }
  EXPECT_THAT(Refusal("A\nB=1"), HasSubstr("A\\nB"));
}

TEST(AllSettings, EachNameOnce) {
  Strings names;
  for (const Setting& setting : AllSettings()) names.push_back(setting.name);
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

TEST(ParseTimeSpan, AsSystemdTimeHasIt) {
  const std::pair<const char*, uint64_t> kSpans[] = {
      {"5min 20s", 320000000},
      {"5min20s", 320000000},
      {"500ms", 500000},
      {"30", 30000000},
      {"1.5h", 5400000000},
      {"1 us", 1},
      {"0", 0},
      {" 2s ", 2000000},
      {"1M", 2629800000000},
      {"1y", 31557600000000},
      {"3\xc2\xb5s", 3},
      {"0.1s", 100000},
      {"infinity", kForever},
  };
  for (const auto& [text, span] : kSpans) {
    EXPECT_EQ(ParseTimeSpan(text), span) << text;
  }
  for (const char* text : {"", " ", "s", "-1", "1x", "1..5s", "inf", "1e30",
                           "999999999y", "1 2 x"}) {
    EXPECT_EQ(ParseTimeSpan(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace treekill::systemd
