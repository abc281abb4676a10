from django.urls import path

from aichat.payments import views
from aichat.payments.alert_views import AlertsView
from aichat.payments.stripe_views import CheckoutView, PortalView

urlpatterns = [
    path("plans", views.PlansView.as_view()),
    path("subscription", views.SubscriptionView.as_view()),
    path("alerts", AlertsView.as_view()),
    path("billing/checkout", CheckoutView.as_view()),
    path("billing/portal", PortalView.as_view()),
    path("admin/plans", views.AdminPlansView.as_view()),
    path("admin/subscriptions", views.AdminSubscriptionsView.as_view()),
    path("vouchers/redeem", views.RedeemView.as_view()),
    path("admin/vouchers", views.VouchersView.as_view()),
]
