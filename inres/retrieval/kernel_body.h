// Included by kernel.cc once per instruction set, in a namespace of that name; therefore neither
// this file nor its parts have an include guard. Nothing else includes them.

namespace {
namespace INRES_BODY {

#include "kernel_codes.h"
#include "kernel_rows.h"
#include "kernel_buckets.h"
#include "kernel_descent.h"
#include "kernel_search.h"

}  // namespace INRES_BODY
}  // namespace
