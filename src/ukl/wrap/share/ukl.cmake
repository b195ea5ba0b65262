# SPDX-License-Identifier: GPL-2.0
#
# CMake toolchain file: the compiler wrapper, and libraries of the project as archives.

set(CMAKE_C_COMPILER "${CMAKE_CURRENT_LIST_DIR}/../bin/ukl-cc")
set(CMAKE_CXX_COMPILER "${CMAKE_CURRENT_LIST_DIR}/../bin/ukl-c++")
set(BUILD_SHARED_LIBS OFF CACHE BOOL "The program is linked statically")
