// Compiled once for each instruction set, with WCR_ISA naming it. Nothing here may have linkage but the table: a
// function shared between the builds could be taken from the wrong one.
#include "kernels.h"

#include "kernels/dense.h"
#include "kernels/maps.h"
#include "kernels/sparse.h"
#include "kernels/winograd.h"

#define WCR_JOIN_(a, b) a##b
#define WCR_JOIN(a, b) WCR_JOIN_(a, b)
#define WCR_TEXT_(a) #a
#define WCR_TEXT(a) WCR_TEXT_(a)

namespace wcr {

extern const Kernels WCR_JOIN(kernels_, WCR_ISA);
const Kernels WCR_JOIN(kernels_, WCR_ISA) = {
    WCR_TEXT(WCR_ISA), kLaneRows, kLaneCols, kMaxTile, kDenseGroup, kWinogradGroup, kWinogradTiles,
    sparse,            dense,     winograd,  winograd_scratch,
    pack,              unpack,    finish,    max_pool, upsample,    activate,
};

}  // namespace wcr
