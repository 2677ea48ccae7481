#include "treekill/systemd/append.h"

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace treekill::systemd {
namespace {

class Appender final {
 public:
  Appender(const Libsystemd& lib, sd_bus_message* message)
      : lib_(lib), message_(message) {}

  int operator()(bool value) { return Append("b", static_cast<int>(value)); }
  int operator()(int32_t value) { return Append("i", value); }
  int operator()(uint32_t value) { return Append("u", value); }
  int operator()(uint64_t value) { return Append("t", value); }
  int operator()(const std::string& value) {
    return Append("s", value.c_str());
  }
  int operator()(const std::vector<uint8_t>& value) {
    return lib_.sd_bus_message_append_array(message_, 'y', value.data(),
                                            value.size());
  }
  int operator()(const std::vector<std::string>& value) {
    return Array("s", value);
  }
  int operator()(const std::vector<std::pair<std::string, uint64_t>>& value) {
    return Array("(st)", value);
  }
  int operator()(
      const std::vector<std::pair<std::string, std::string>>& value) {
    return Array("(ss)", value);
  }
  int operator()(const std::vector<IpPrefix>& value) {
    return Array("(iayu)", value);
  }

  int operator()(const std::pair<std::string, uint64_t>& value) {
    return Append("(st)", value.first.c_str(), value.second);
  }
  int operator()(const std::pair<std::string, std::string>& value) {
    return Append("(ss)", value.first.c_str(), value.second.c_str());
  }
  int operator()(const IpPrefix& value) {
    return Within('r', "iayu", [&] {
      int result = Append("i", value.family);
      if (result >= 0) result = (*this)(value.bytes);
      return result < 0 ? result : Append("u", value.length);
    });
  }

  int Whole(const Property& property) {
    return Within('r', "sv", [&] {
      int result = (*this)(property.name);
      if (result < 0) return result;
      return Within('v', property.signature.c_str(),
                    [&] { return std::visit(*this, property.value); });
    });
  }

 private:
  template <typename... Values>
  int Append(const char* types, Values... values) {
    return lib_.sd_bus_message_append(message_, types, values...);
  }

  template <typename Contents>
  int Within(char type, const char* contents, Contents append) {
    int result = lib_.sd_bus_message_open_container(message_, type, contents);
    if (result >= 0) result = append();
    return result < 0 ? result : lib_.sd_bus_message_close_container(message_);
  }

  template <typename Item>
  int Array(const char* type, const std::vector<Item>& items) {
    return Within('a', type, [&] {
      int result = 0;
      for (const Item& item : items) {
        if (result >= 0) result = (*this)(item);
      }
      return result;
    });
  }

  const Libsystemd& lib_;
  sd_bus_message* const message_;
};

}  // namespace

int AppendProperty(const Libsystemd& lib, sd_bus_message* message,
                   const Property& property) {
  return Appender(lib, message).Whole(property);
}

}  // namespace treekill::systemd
