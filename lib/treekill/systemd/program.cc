#include "treekill/systemd/helper.h"

int main() { return treekill::systemd::HelperMain(); }
