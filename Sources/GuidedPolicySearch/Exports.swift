// One import gives a user everything: `import GuidedPolicySearch`.

@_exported public import Configuration
@_exported public import Differentiation
@_exported public import Distributed
@_exported public import Dynamics
@_exported public import Experiments
@_exported public import Exports
@_exported public import Films
@_exported public import GPSCore
@_exported public import GlobalPolicy
@_exported public import LQR
@_exported public import LinearAlgebra
@_exported public import PathIntegral
@_exported public import PolicySearch
@_exported public import Reports
@_exported public import Runs
@_exported public import SearchParts
@_exported public import Sim
@_exported public import Starts
@_exported public import Statistics
@_exported public import TrajectoryOptimization
