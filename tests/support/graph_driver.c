/* The graph functions of NVIDIA's driver as cuda.h declares them, for tests without a GPU.

   Handles are pointers of 64 bits with bits set in both halves; a function that gets another one
   than it should returns 1 (invalid value). The one that `refusing` names returns 801. */

#include <stddef.h>
#include <string.h>

typedef int CUresult;
typedef struct CUstream_st *CUstream;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphExec_st *CUgraphExec;
typedef struct CUgraphNode_st *CUgraphNode;
typedef enum { GLOBAL = 0, THREAD_LOCAL = 1, RELAXED = 2 } CUstreamCaptureMode;

#define STREAM ((CUstream)0x7f5a0000c0de0010)
#define WORKING ((CUstream)0x7f5a0000c0de0020)
#define GRAPH ((CUgraph)0x7f5a9000beef0030)
#define EXECUTABLE ((CUgraphExec)0x7f5a9000f00d0040)

char refusing[64] = "";
size_t nodes = (size_t)1 << 33;
int capturing = 0, graphs = 0, executables = 0, launches = 0;

static CUresult answer(const char *name, int good) {
    if (strcmp(name, refusing) == 0) return 801;
    return good ? 0 : 1;
}

CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode) {
    CUresult found = answer("begin", stream == STREAM && mode == THREAD_LOCAL && !capturing);
    capturing += found == 0;
    return found;
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph) {
    CUresult found = answer("end", stream == STREAM && capturing);
    capturing = 0;
    *graph = found == 0 ? GRAPH : NULL;
    graphs += found == 0;
    return found;
}

CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *found, size_t *count) {
    *count = nodes;
    return answer("nodes", graph == GRAPH && found == NULL);
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags) {
    CUresult found = answer("instantiate", graph == GRAPH && flags == 0);
    *exec = found == 0 ? EXECUTABLE : NULL;
    executables += found == 0;
    return found;
}

CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream) {
    CUresult found = answer("launch", exec == EXECUTABLE && stream == WORKING);
    launches += found == 0;
    return found;
}

CUresult cuGraphExecDestroy(CUgraphExec exec) {
    executables -= exec == EXECUTABLE;
    return answer("forget", exec == EXECUTABLE);
}

CUresult cuGraphDestroy(CUgraph graph) {
    graphs -= graph == GRAPH;
    return answer("destroy", graph == GRAPH);
}

CUresult cuGetErrorString(CUresult error, const char **text) {
    *text = error == 801 ? "operation not supported" : error == 1 ? "invalid argument" : NULL;
    return *text == NULL;
}
