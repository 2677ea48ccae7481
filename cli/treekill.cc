#include "cli/main.h"

int main(int argc, char** argv) { return treekill::cli::Main(argc, argv); }
