#include "treekill/kernel/mounts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace treekill::kernel {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

CgroupMount At(const std::string& mount_point, const std::string& root = "/") {
  return CgroupMount{.mount_point = mount_point, .root = root};
}

TEST(ParseCgroupMounts, Unified) {
  CgroupMounts mounts = ParseCgroupMounts(
      "22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n"
      "25 22 0:22 / /sys/fs/cgroup rw,nosuid,relatime shared:4 - cgroup2 "
      "cgroup2 rw,nsdelegate\n");
  ASSERT_THAT(mounts.v2, SizeIs(1));
  EXPECT_EQ(mounts.v2[0].mount_point, "/sys/fs/cgroup");
  EXPECT_EQ(mounts.v2[0].root, "/");
  EXPECT_FALSE(mounts.v2[0].read_only);
  EXPECT_FALSE(mounts.has_v1);
}

TEST(ParseCgroupMounts, Hybrid) {
  CgroupMounts mounts = ParseCgroupMounts(
      "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
      "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
      "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  ASSERT_THAT(mounts.v2, SizeIs(1));
  EXPECT_EQ(mounts.v2[0].mount_point, "/sys/fs/cgroup/unified");
  EXPECT_TRUE(mounts.has_v1);
}

TEST(ParseCgroupMounts, OnlyVersionOne) {
  CgroupMounts mounts = ParseCgroupMounts(
      "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n");
  EXPECT_THAT(mounts.v2, IsEmpty());
  EXPECT_TRUE(mounts.has_v1);
}

TEST(ParseCgroupMounts, None) {
  CgroupMounts mounts =
      ParseCgroupMounts("22 28 0:20 / /sys rw - sysfs sysfs rw\n");
  EXPECT_THAT(mounts.v2, IsEmpty());
  EXPECT_FALSE(mounts.has_v1);
  EXPECT_THAT(ParseCgroupMounts("").v2, IsEmpty());
}

TEST(ParseCgroupMounts, SeveralInTheirOrder) {
  CgroupMounts mounts = ParseCgroupMounts(
      "41 31 0:38 /a /mnt/bind rw - cgroup2 none rw\n"
      "42 31 0:38 / /sys/fs/cgroup rw - cgroup2 none rw\n"
      "43 31 0:38 /../../x /mnt/outside rw - cgroup2 none rw");
  ASSERT_THAT(mounts.v2, SizeIs(3));
  EXPECT_EQ(mounts.v2[0].root, "/a");
  EXPECT_EQ(mounts.v2[0].mount_point, "/mnt/bind");
  EXPECT_EQ(mounts.v2[1].root, "/");
  EXPECT_EQ(mounts.v2[2].root, "/../../x");
}

TEST(ParseCgroupMounts, OctalEscapes) {
  CgroupMounts mounts = ParseCgroupMounts(
      "41 31 0:38 /a\\040b /mnt/c\\011d\\012e\\134f\\040-\\040g rw - cgroup2 "
      "none rw\n");
  ASSERT_THAT(mounts.v2, SizeIs(1));
  EXPECT_EQ(mounts.v2[0].root, "/a b");
  EXPECT_EQ(mounts.v2[0].mount_point, "/mnt/c\td\ne\\f - g");
}

TEST(ParseCgroupMounts, BackslashesThatEscapeNothingStay) {
  CgroupMounts mounts =
      ParseCgroupMounts("41 31 0:38 / /a\\08b\\9\\04 rw - cgroup2 none rw\n");
  ASSERT_THAT(mounts.v2, SizeIs(1));
  EXPECT_EQ(mounts.v2[0].mount_point, "/a\\08b\\9\\04");
}

TEST(ParseCgroupMounts, AnyNumberOfOptionalFields) {
  for (const char* fields : {"", "shared:1 ", "shared:1 master:2 ",
                             "master:2 propagate_from:3 unbindable "}) {
    CgroupMounts mounts = ParseCgroupMounts(
        std::string("41 31 0:38 / /cg rw ") + fields + "- cgroup2 none rw\n");
    ASSERT_THAT(mounts.v2, SizeIs(1)) << fields;
    EXPECT_EQ(mounts.v2[0].mount_point, "/cg") << fields;
  }
}

TEST(ParseCgroupMounts, ReadOnlyByTheMountOrByTheFileSystem) {
  CgroupMounts mounts = ParseCgroupMounts(
      "1 0 0:1 / /a ro,nosuid - cgroup2 none rw\n"
      "2 0 0:1 / /b rw - cgroup2 none ro,nsdelegate\n"
      "3 0 0:1 / /c rw,root - cgroup2 none rw,error\n");
  ASSERT_THAT(mounts.v2, SizeIs(3));
  EXPECT_TRUE(mounts.v2[0].read_only);
  EXPECT_TRUE(mounts.v2[1].read_only);
  EXPECT_FALSE(mounts.v2[2].read_only);
}

TEST(ParseCgroupMounts, PassesOverGarbage) {
  CgroupMounts mounts =
      ParseCgroupMounts("\n - \n - cgroup2\n - cgroup2 none rw\ncgroup2\n" +
                        std::string(300, '\0') +
                        "\n\xff\xfe - cgroup2 \xff \xfe\n"
                        "1 0 0:1 / /a rw cgroup2 none rw\n"
                        "1 0 0:1 / /a rw - cgroup2\n"
                        "1 0 0:1 / /a rw - cgroup2x none rw\n"
                        "1 0 0:1 / /a rw - fuse.cgroup2 none rw\n"
                        "41 31 0:38 / /good rw - cgroup2 none rw\n");
  ASSERT_THAT(mounts.v2, SizeIs(1));
  EXPECT_EQ(mounts.v2[0].mount_point, "/good");
  EXPECT_FALSE(mounts.has_v1);
}

TEST(DirectoryOfCgroup, BelowTheMountPoint) {
  CgroupMount mount = At("/sys/fs/cgroup");
  EXPECT_EQ(DirectoryOfCgroup(mount, "/"), "/sys/fs/cgroup");
  EXPECT_EQ(DirectoryOfCgroup(mount, "/a/b"), "/sys/fs/cgroup/a/b");
}

TEST(DirectoryOfCgroup, ThroughABindMount) {
  CgroupMount mount = At("/cg", "/docker/1");
  EXPECT_EQ(DirectoryOfCgroup(mount, "/docker/1"), "/cg");
  EXPECT_EQ(DirectoryOfCgroup(mount, "/docker/1/a"), "/cg/a");
}

TEST(DirectoryOfCgroup, OutsideWhatIsMounted) {
  CgroupMount mount = At("/cg", "/docker/1");
  for (const char* cgroup : {"/", "/docker", "/docker/12", "/docker/12/a",
                             "/other", "/a/docker/1"}) {
    EXPECT_EQ(DirectoryOfCgroup(mount, cgroup), "") << cgroup;
  }
}

TEST(DirectoryOfCgroup, ThroughAMountOfAnOuterCgroupNamespace) {
  CgroupMount mount = At("/cg", "/../outer");
  EXPECT_EQ(DirectoryOfCgroup(mount, "/../outer/a"), "/cg/a");
  EXPECT_EQ(DirectoryOfCgroup(mount, "/a"), "");
}

// "/.." in a "0::" line leads out of our cgroup namespace. Appended to a mount
// point, it would lead out of the mount.
TEST(DirectoryOfCgroup, NeverLeavesTheMount) {
  EXPECT_EQ(DirectoryOfCgroup(At("/sys/fs/cgroup"), "/.."), "");
  EXPECT_EQ(DirectoryOfCgroup(At("/sys/fs/cgroup"), "/../a"), "");
  EXPECT_EQ(DirectoryOfCgroup(At("/cg", "/.."), "/../../a"), "");
  EXPECT_EQ(DirectoryOfCgroup(At("/cg"), "/..a"), "/cg/..a");
}

}  // namespace
}  // namespace treekill::kernel
